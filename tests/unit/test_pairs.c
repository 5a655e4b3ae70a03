/* Kernels over pairs of bfloat16: products against the C version, and what lays pairs out bit for bit. */

#include "base/attributes.h"
#include "bf16_case.h"
#include "kernel/winograd.h"

static struct twin x, dy;

/* Products of pairs: the same sums as those of the C version, up to their order. */
static void test_products(void **unused)
{
    enum { TILES = 2 * DFI_WINOGRAD_TILES, K = 10, WIDTH = 48, POSITIONS = 3 };
    enum { PANEL = 64, WIDE = 2 * PANEL }; /* of the outer product */
    static uint16_t a[POSITIONS * TILES * 64], b[POSITIONS * 64 * WIDTH];
    static float values[TILES * 64], found[2][POSITIONS * TILES * 64 + POSITIONS * 64 * WIDTH];
    const struct dfi_kernels *tables[KC_TABLES];
    const int last = kc_list_tables(tables) - 1;
    uint64_t state = 22;
    (void)unused;
    if (!tables[last]->dots)
        skip();
    for (int i = 0; i < DFI_COUNT(a); i++)
        a[i] = rounded((float)kc_random(&state) - 0.5f);
    for (int i = 0; i < DFI_COUNT(b); i++)
        b[i] = rounded((float)kc_random(&state) - 0.5f);
    for (int i = 0; i < DFI_COUNT(values); i++)
        values[i] = (float)kc_random(&state);
    for (int width = 16; width <= WIDTH; width += 16) {
        for (int t = 0; t < 2; t++) {
            const struct dfi_winograd_multiply_args multiply = { .a = a,
                                                                 .a_group = K * DFI_WINOGRAD_TILES,
                                                                 .a_position = K * TILES,
                                                                 .a_tile = K,
                                                                 .b = b,
                                                                 .b_position = 64 * WIDTH,
                                                                 .c = found[t],
                                                                 .c_group = DFI_WINOGRAD_TILES * width,
                                                                 .c_position = TILES * width,
                                                                 .positions = POSITIONS,
                                                                 .blocks = 1,
                                                                 .groups = 2,
                                                                 .k = K,
                                                                 .width = width };
            (t ? tables[last] : tables[0])->winograd_multiply_bf16(&multiply);
        }
        for (int i = 0; i < POSITIONS * TILES * width; i++)
            assert_true(fabs((double)found[0][i] - (double)found[1][i]) < 1e-5);
        for (int rows = 1; rows < 6; rows++) {
            uint16_t pairs[2][6 * 64] = { 0 };
            tables[0]->pair_rows(values, 64, rows, (size_t)(width + rows), pairs[0], 64);
            tables[last]->pair_rows(values, 64, rows, (size_t)(width + rows), pairs[1], 64);
            assert_memory_equal(pairs[0], pairs[1], sizeof(pairs[0]));
        }
    }
    for (int width = 16; width <= WIDE; width += 16)
        for (int accumulate = 0; accumulate < 2; accumulate++) {
            for (int t = 0; t < 2; t++) {
                const struct dfi_winograd_outer_args outer = { .a = a,
                                                               .a_position = TILES / 2 * 18,
                                                               .a_panel = TILES / 2 * 6,
                                                               .a_width = 6,
                                                               .b = b,
                                                               .b_position = TILES / 2 * WIDE,
                                                               .b_panel = TILES / 2 * PANEL,
                                                               .b_width = PANEL,
                                                               .c = found[t],
                                                               .c_position = 18 * WIDE,
                                                               .ldc = WIDE,
                                                               .positions = POSITIONS,
                                                               .tiles = TILES,
                                                               .rows = 18,
                                                               .width = width,
                                                               .accumulate = accumulate };
                (t ? tables[last] : tables[0])->winograd_outer_bf16(&outer);
            }
            for (int p = 0; p < POSITIONS * 18; p++)
                for (int i = 0; i < width; i++)
                    assert_true(fabs((double)found[0][p * WIDE + i] - (double)found[1][p * WIDE + i]) < 1e-5);
        }
}

/* The same of taps: rows of pixels that overlap, channels that end within a vector. */
static void test_taps(void **unused)
{
    enum { WIDTH = 9, ROWS = 3, CIN = 10, MOST = 70, LDW = 96 };
    static const ptrdiff_t offset[3] = { 0, CIN, (WIDTH + 2) * CIN };
    static uint16_t pixels[2 * 8 * (WIDTH + 2) * CIN], gradients[2 * WIDTH * ROWS * MOST],
        w[2 * 3 * CIN * LDW];
    static float found[2][3 * CIN * LDW > WIDTH * ROWS * MOST ? 3 * CIN * LDW : WIDTH * ROWS * MOST];
    const struct dfi_kernels *tables[KC_TABLES];
    const struct dfi_kernels *dots = tables[kc_list_tables(tables) - 1], *c = tables[0];
    float bias[MOST];
    uint64_t state = 24;
    (void)unused;
    if (!dots->dots)
        skip();
    for (int i = 0; i < DFI_COUNT(pixels); i++)
        pixels[i] = rounded((float)kc_random(&state) - 0.5f);
    for (int i = 0; i < DFI_COUNT(gradients); i++)
        gradients[i] = rounded((float)kc_random(&state) - 0.5f);
    for (int i = 0; i < MOST; i++)
        bias[i] = (float)kc_random(&state);
    for (int cout = 16; cout <= MOST; cout += 9)
        for (int accumulate = 0; accumulate < 2; accumulate++) {
            for (int t = 0; t < 2; t++) {
                const struct dfi_kernels *k = t ? dots : c;
                const int block = k->conv_block, blocks = (cout + block - 1) / block;
                struct dfi_taps_args taps = { .x = pixels,
                                              .x_pixel = CIN,
                                              .x_row = (WIDTH + 2) * CIN,
                                              .taps = 3,
                                              .offset = offset,
                                              .cin = CIN,
                                              .cout = cout,
                                              .w = w,
                                              .bias = accumulate ? NULL : bias,
                                              .y = found[t],
                                              .y_pixel = MOST,
                                              .y_row = MOST * WIDTH,
                                              .width = WIDTH,
                                              .rows = ROWS,
                                              .accumulate = accumulate };
                for (int i = 0; i < blocks * 3 * CIN * block; i++) {
                    const int o = i / (3 * CIN * block) * block + i % block, tap = i / block % (3 * CIN);
                    for (int j = 0; j < 2; j++)
                        w[2 * i + j] = o < cout ? gradients[(o * 61 + tap * 2 + j) % DFI_COUNT(gradients)]
                                                : 0;
                }
                k->taps_bf16(&taps);
            }
            for (int i = 0; i < WIDTH * ROWS * MOST; i++)
                assert_true(fabs((double)found[0][i] - (double)found[1][i]) < 1e-5);
        }
    memset(found, 0, sizeof(found));
    for (int cout = 16; cout <= MOST; cout += 9) {
        for (int t = 0; t < 2; t++) {
            const struct dfi_taps_dw_args taps = { .x = pixels,
                                                   .x_pixel = CIN,
                                                   .x_row = (WIDTH + 2) * CIN,
                                                   .x_panel = DFI_TAPS_DW_PANEL,
                                                   .taps = 3,
                                                   .offset = offset,
                                                   .cin = CIN,
                                                   .cout = cout,
                                                   .dy = gradients,
                                                   .dy_pixel = MOST,
                                                   .dy_row = MOST * WIDTH,
                                                   .width = WIDTH,
                                                   .rows = ROWS,
                                                   .dw = found[t],
                                                   .ldw = LDW };
            (t ? dots : c)->taps_dw_bf16(&taps);
        }
        for (int i = 0; i < 3 * CIN * LDW; i++)
            assert_true(fabs((double)found[0][i] - (double)found[1][i]) < 1e-4);
    }
}

/* Pixels of two images side by side, bit for bit, from either type. */
static void test_pairs_of_pixels(void **unused)
{
    static uint16_t pairs[2][2 * ROOM];
    const struct dfi_kernels *tables[KC_TABLES];
    const struct dfi_kernels *dots = tables[kc_list_tables(tables) - 1];
    uint64_t state = 25;
    (void)unused;
    if (!dots->dots)
        skip();
    fill(&x, &state);
    fill(&dy, &state);
    for (int channels = 1; channels < 70; channels += 3)
        for (int both = 0; both < 2; both++) {
            const ptrdiff_t ld = channels + channels % 5;
            memset(pairs, 0, sizeof(pairs));
            tables[0]->pair_pixels(x.wide, both ? dy.wide : NULL, ld, 24, channels, pairs[0]);
            dots->pair_pixels(x.wide, both ? dy.wide : NULL, ld, 24, channels, pairs[1]);
            assert_memory_equal(pairs[0], pairs[1], sizeof(pairs[0]));
            assert_int_equal(pairs[0][2 * channels], x.narrow[ld]);
            assert_int_equal(pairs[0][2 * channels + 1], both ? dy.narrow[ld] : 0);
            for (int t = 0; t < 2; t++) {
                const struct dfi_kernels *k = (t ? dots : tables[0])->bf16;
                memset(pairs[1], 0, sizeof(pairs[1]));
                k->pair_pixels(x.narrow, both ? dy.narrow : NULL, ld, 24, channels, pairs[1]);
                assert_memory_equal(pairs[0], pairs[1], sizeof(pairs[0]));
            }
        }
}

/* Values of tiles side by side: those that are stored one by one, and zeros behind an odd number of tiles. */
static void test_twin_tiles(void **unused)
{
    enum { CHANNELS = 21, WIDTH = 11, POSITION = 8 * CHANNELS, MOST = 36 };
    static float values[MOST * POSITION];
    static uint16_t twins[2 * MOST * POSITION];
    const struct dfi_kernels *tables[KC_TABLES];
    const int last = kc_list_tables(tables) - 1;
    uint64_t state = 26;
    (void)unused;
    fill(&x, &state);
    for (int i = 0; i < 24; i++) {
        const struct dfi_kernels *k = i % 2 && tables[last]->dots ? tables[last] : tables[0];
        const int count = 4 + i % 3, scheme_number = i / 3 % 4, narrow = i / 12;
        const int tile = scheme_number == 0 ? 2 : scheme_number == 2 ? 3 : 4;
        struct dfi_winograd scheme;
        dfi_winograd_init(&scheme, tile, scheme_number < 2 ? 3 : 2);
        const int across = (WIDTH + tile - 1) / tile;
        struct dfi_winograd_args args = { .scheme = &scheme,
                                          .tiles = { narrow ? (void *)x.narrow : (void *)x.wide, CHANNELS,
                                                     CHANNELS * WIDTH, ROOM, 1, WIDTH, WIDTH, -1, -1, across,
                                                     across * across },
                                          .first = 1,
                                          .count = count,
                                          .channels = CHANNELS,
                                          .values = values,
                                          .position = POSITION,
                                          .tile = CHANNELS,
                                          .group = DFI_WINOGRAD_TILES * CHANNELS };
        for (int gradient = 0; gradient < 2; gradient++) {
            const struct dfi_kernels *table = narrow ? k->bf16 : k;
            args.store = DFI_WINOGRAD_FLOATS;
            args.values = values;
            (gradient ? table->winograd_gradient : table->winograd_input)(&args);
            args.store = DFI_WINOGRAD_TWINS;
            args.values = twins;
            memset(twins, 0xff, sizeof(twins));
            (gradient ? table->winograd_gradient : table->winograd_input)(&args);
            for (int t = 0; t < (count + 1) / 2 * 2; t++)
                for (int at = 0; at < scheme.n * scheme.n * CHANNELS; at++) {
                    const int p = at / CHANNELS, c = at % CHANNELS;
                    assert_int_equal(twins[2 * (t / 2 * CHANNELS + p * POSITION + c) + t % 2],
                                     t < count ? rounded(values[t * CHANNELS + p * POSITION + c]) : 0);
                }
        }
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_taps),
        cmocka_unit_test(test_pairs_of_pixels),
        cmocka_unit_test(test_twin_tiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
