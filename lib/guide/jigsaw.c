#include "base/random.h"
#include "guide/view.h"

/* The 4 x 4 jigsaw puzzle of the visual_anagrams project (Geng et al. 2024):
 *
 *     c0 e0 f0 c1
 *     f3 i0 i1 e1
 *     e3 i3 i2 f1
 *     c3 f2 e2 c2
 *
 * A piece becomes the next one of its letter by a quarter turn clockwise about the middle of the picture, and
 * an edge piece e its neighbour f by a move along the edge. So corners may change places with corners, inner
 * pieces with inner pieces, edges with edges. */

enum { CORNER, INNER, EDGE, EDGE_TOO, GROUPS };

struct piece {
    int group, turn;
};

static const struct piece pieces[4][4] = {
    { { CORNER, 0 }, { EDGE, 0 }, { EDGE_TOO, 0 }, { CORNER, 1 } },
    { { EDGE_TOO, 3 }, { INNER, 0 }, { INNER, 1 }, { EDGE, 1 } },
    { { EDGE, 3 }, { INNER, 3 }, { INNER, 2 }, { EDGE_TOO, 1 } },
    { { CORNER, 3 }, { EDGE_TOO, 2 }, { EDGE, 2 }, { CORNER, 2 } },
};

/* Tabs reach into the next cell: clockwise along the border and around the middle, and from the border
 * inwards. Bits of the sides from which a cell is entered. */
enum { FROM_LEFT = 1, FROM_RIGHT = 2, FROM_ABOVE = 4, FROM_BELOW = 8 };
static const int entered[4][4] = {
    { FROM_BELOW, FROM_LEFT, FROM_LEFT, FROM_LEFT },
    { FROM_BELOW, FROM_LEFT | FROM_ABOVE | FROM_BELOW, FROM_ABOVE | FROM_LEFT | FROM_RIGHT, FROM_ABOVE },
    { FROM_BELOW, FROM_LEFT | FROM_BELOW | FROM_RIGHT, FROM_ABOVE | FROM_RIGHT | FROM_BELOW, FROM_ABOVE },
    { FROM_RIGHT, FROM_RIGHT, FROM_RIGHT, FROM_ABOVE },
};

/* Widths of a tab, row by row from its base over its neck to its head, as drawn on a cell of 16 pixels
 * (pictures of 64) and on one of 64 (pictures of 256). */
static const struct drawing {
    int side, rows, widths[20];
} drawings[] = {
    { 16, 5, { 4, 2, 4, 4, 2 } },
    { 64, 20, { 16, 12, 10, 10, 8, 8, 8, 10, 12, 14, 14, 16, 16, 16, 16, 16, 14, 12, 10, 6 } },
};

/* Whether a tab covers the pixel `depth` pixels into a cell of `side` pixels, `along` its border. */
static int in_tab(int side, int depth, int along)
{
    const struct drawing *drawing = &drawings[side >= 64];
    const int row = depth * drawing->side / side, off_middle = 2 * along + 1 - side;
    return side > 1 && row < drawing->rows &&
           (off_middle < 0 ? -off_middle : off_middle) * drawing->side < drawing->widths[row] * side;
}

static struct piece piece_at(int side, int y, int x)
{
    const int row = y / side, column = x / side, dy = y % side, dx = x % side;
    const int from = entered[row][column];
    if (from & FROM_LEFT && in_tab(side, dx, dy))
        return pieces[row][column - 1];
    if (from & FROM_RIGHT && in_tab(side, side - 1 - dx, dy))
        return pieces[row][column + 1];
    if (from & FROM_ABOVE && in_tab(side, dy, dx))
        return pieces[row - 1][column];
    if (from & FROM_BELOW && in_tab(side, side - 1 - dy, dx))
        return pieces[row + 1][column];
    return pieces[row][column];
}

struct order {
    int turns[GROUPS][4]; /* where the piece goes, by its turn */
    int swaps[4];         /* 1: e and f of this side change places at last */
};

/* numpy.random.seed(seed), permutation(4) for each group, randint(2, size=4): so a seed means the same puzzle
 * as in visual_anagrams. */
static void choose_order(uint32_t seed, struct order *order)
{
    struct dfi_mt19937 generator;
    dfi_mt19937_seed(&generator, seed);
    for (int group = 0; group < GROUPS; group++) {
        int *turns = order->turns[group];
        for (int i = 0; i < 4; i++)
            turns[i] = i;
        for (int i = 3; i > 0; i--) {
            const uint32_t mask = i > 1 ? 3 : 1;
            uint32_t j;
            do
                j = dfi_mt19937_word(&generator) & mask;
            while (j > (uint32_t)i);
            const int kept = turns[i];
            turns[i] = turns[j];
            turns[j] = kept;
        }
    }
    for (int i = 0; i < 4; i++)
        order->swaps[i] = (int)(dfi_mt19937_word(&generator) & 1);
}

/* Moves an edge piece to the other one of its side. */
static void swap_edge(int side, struct piece piece, int *y, int *x)
{
    const int sign = (piece.group == EDGE ? 1 : -1) * (piece.turn < 2 ? 1 : -1);
    if (piece.turn % 2 == 0)
        *x += sign * side;
    else
        *y += sign * side;
}

static int target(const struct order *order, int size, int y, int x)
{
    const int side = size / 4;
    const struct piece piece = piece_at(side, y, x);
    const int turns = (order->turns[piece.group][piece.turn] - piece.turn + 4) % 4;
    for (int i = 0; i < turns; i++) {
        const int from = y;
        y = x;
        x = size - 1 - from;
    }
    const struct piece now = piece_at(side, y, x);
    if (now.group >= EDGE && order->swaps[now.turn])
        swap_edge(side, now, &y, &x);
    return y * size + x;
}

int dfi_view_fill_jigsaw(const struct diffc_view *view, int h, int w, int32_t *map)
{
    struct order order;
    if (h != w || h % 4)
        return dfi_fail(DIFFC_ERR_CONFIG,
                        "view \"jigsaw\" needs square pictures with sides divisible by 4, these are %d x %d",
                        h, w);
    choose_order(view->seed ? (uint32_t)view->seed : 4522, &order);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            map[y * w + x] = target(&order, h, y, x);
    return DIFFC_OK;
}
