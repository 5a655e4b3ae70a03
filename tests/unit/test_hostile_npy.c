/* npy files: rows N of the table of hostile inputs. */

#include "hostile_files.h"

static void test_n1_prefix(void **state)
{
    (void)state;
    struct bytes file = make_npy(1, NPY_HEADER("'<f4'", "False", "(2,)"), 8);
    hostile("N1 good", NPY, file, DIFFC_OK, NULL);
    hostile("N1 magic", NPY, text_file("\x93NUMPX\1\0\0\0", 10), DIFFC_ERR_FORMAT, "not an npy");
    hostile("N1 empty", NPY, text_file("", 0), DIFFC_ERR_TRUNCATED, NULL);
    hostile("N1 version 4", NPY, make_npy(4, NPY_HEADER("'<f4'", "False", "(2,)"), 8), DIFFC_ERR_UNSUPPORTED,
            "4.0");
    hostile("N1 version 0", NPY, make_npy(0, NPY_HEADER("'<f4'", "False", "(2,)"), 8), DIFFC_ERR_UNSUPPORTED,
            "0.0");
    hostile("N1 length", NPY, text_file("\x93NUMPY\2\0\xf0\xff\xff\xff", 12), DIFFC_ERR_LIMIT, "10000");
    hostile("N1 header cut", NPY, text_file("\x93NUMPY\1\0\x76\0{'de", 14), DIFFC_ERR_TRUNCATED, NULL);
    struct bytes padded = { 0 };
    bytes_text(&padded, NPY_HEADER("'<f4'", "False", "(2,)"));
    padded.size--;
    for (size_t i = padded.size; i < 9999; i++)
        bytes_text(&padded, " ");
    bytes_put(&padded, "\n", 2);
    hostile("N1 10000", NPY, make_npy(2, (const char *)padded.data, 8), DIFFC_OK, NULL);
    padded.data[9999] = ' ';
    padded.data[10000] = '\n';
    bytes_put(&padded, "", 1);
    hostile("N1 10001", NPY, make_npy(2, (const char *)padded.data, 8), DIFFC_ERR_LIMIT, NULL);
    bytes_free(&padded);
}

static void test_n2_descr(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        int status;
        const char *words;
    } rows[] = {
        { NPY_HEADER("'|O'", "False", "(2,)"), 16, DIFFC_ERR_UNSUPPORTED, "objects" },
        { NPY_HEADER("[('a', '<f4')]", "False", "(2,)"), 8, DIFFC_ERR_UNSUPPORTED, "records" },
        { NPY_HEADER("'<f3'", "False", "(2,)"), 8, DIFFC_ERR_FORMAT, "<f3" },
        { NPY_HEADER("'<i8x'", "False", "(2,)"), 16, DIFFC_ERR_FORMAT, "<i8x" },
        { NPY_HEADER("'>f4'", "False", "(2,)"), 8, DIFFC_OK, NULL },
        { NPY_HEADER("'<f2'", "False", "(2,)"), 4, DIFFC_OK, NULL },
        { NPY_HEADER("'=f4'", "False", "(2,)"), 8, DIFFC_OK, NULL },
        { NPY_HEADER("'<u1'", "False", "(2,)"), 2, DIFFC_OK, NULL },
        { NPY_HEADER("''", "False", "(2,)"), 8, DIFFC_ERR_FORMAT, NULL },
        { NPY_HEADER("'<'", "False", "(2,)"), 8, DIFFC_ERR_FORMAT, NULL },
        { NPY_HEADER("'f4'", "False", "(2,)"), 8, DIFFC_ERR_FORMAT, NULL },
        { NPY_HEADER("'|f4'", "False", "(2,)"), 8, DIFFC_ERR_FORMAT, "byte order" },
        { NPY_HEADER("'<c8'", "False", "(2,)"), 16, DIFFC_ERR_UNSUPPORTED, NULL },
        { NPY_HEADER("'|b1'", "False", "(2,)"), 2, DIFFC_ERR_UNSUPPORTED, NULL },
        { NPY_HEADER("'<U3'", "False", "(2,)"), 24, DIFFC_ERR_UNSUPPORTED, NULL },
        { NPY_HEADER("'<f4000000000000000000000000000000000'", "False", "(2,)"), 8, DIFFC_ERR_FORMAT,
          "too long" },
        { NPY_HEADER("4", "False", "(2,)"), 8, DIFFC_ERR_FORMAT, "string" },
        /* N3 */
        { NPY_HEADER("'<f4'", "True", "(2, 3)"), 24, DIFFC_OK, NULL },
        { NPY_HEADER("'<f4'", "true", "(2, 3)"), 24, DIFFC_ERR_FORMAT, "fortran_order" },
        { NPY_HEADER("'<f4'", "1", "(2, 3)"), 24, DIFFC_ERR_FORMAT, "fortran_order" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        hostile("N2", NPY, make_npy(1, rows[i].header, rows[i].data), rows[i].status, rows[i].words);
}

static void test_n4_shape(void **state)
{
    (void)state;
    static const struct {
        const char *shape;
        size_t data;
        int status;
    } rows[] = {
        { "()", 1, DIFFC_OK },
        { "(0,)", 0, DIFFC_OK },
        { "(1,)", 1, DIFFC_OK },
        { "( 2 , 1 , )", 2, DIFFC_OK },
        { "(-1,)", 1, DIFFC_ERR_FORMAT },
        { "(1e3,)", 1000, DIFFC_ERR_FORMAT },
        { "(2L,)", 2, DIFFC_ERR_FORMAT },
        { "(+2,)", 2, DIFFC_ERR_FORMAT },
        { "(2)", 2, DIFFC_ERR_FORMAT },
        { "(,)", 1, DIFFC_ERR_FORMAT },
        { "(2,,)", 2, DIFFC_ERR_FORMAT },
        { "(2 3)", 6, DIFFC_ERR_FORMAT },
        { "(2,", 2, DIFFC_ERR_FORMAT },
        { "[2]", 2, DIFFC_ERR_FORMAT },
        { "2", 2, DIFFC_ERR_FORMAT },
        { "((2,),)", 2, DIFFC_ERR_FORMAT },
        { "(1,1,1,1,1,1,1,1)", 1, DIFFC_OK },
        { "(1,1,1,1,1,1,1,1,1)", 1, DIFFC_ERR_LIMIT },
        { "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)", 1, DIFFC_ERR_LIMIT },
        { "(4194305, 4194305, 211106198978564)", 4, DIFFC_ERR_LIMIT },
        { "(0, 9223372036854775807, 3)", 0, DIFFC_ERR_LIMIT },
        { "(9223372036854775808,)", 4, DIFFC_ERR_LIMIT },
        { "(99999999999999999999999999,)", 4, DIFFC_ERR_LIMIT },
        { "(9223372036854775807,)", 4, DIFFC_ERR_TRUNCATED },
    };
    char header[256];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(header, sizeof(header), NPY_HEADER("'|u1'", "False", "%s"), rows[i].shape);
        hostile(rows[i].shape, NPY, make_npy(1, header, rows[i].data), rows[i].status, NULL);
    }
}

static void test_n5_grammar(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        int status;
    } rows[] = {
        { "{'shape': (2,), 'descr': '|u1', 'fortran_order': False}\n", DIFFC_OK },
        { "{\"shape\":(2,),\"descr\":\"|u1\",\"fortran_order\":False}\n", DIFFC_OK },
        { "  {'shape': (2,), 'descr': '|u1', 'fortran_order': False}  \n", DIFFC_OK },
        { "{'descr': '|u1', 'fortran_order': False}\n", DIFFC_ERR_FORMAT },
        { "{}\n", DIFFC_ERR_FORMAT },
        { "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (2,)}\n", DIFFC_ERR_FORMAT },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), 'x': 1}\n", DIFFC_ERR_FORMAT },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)}", DIFFC_ERR_FORMAT },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)} x\n", DIFFC_ERR_FORMAT },
        { "{'descr': '|u1, 'fortran_order': False, 'shape': (2,)}\n", DIFFC_ERR_FORMAT },
        { "{'descr': '|u1\", 'fortran_order': False, 'shape': (2,)}\n", DIFFC_ERR_FORMAT },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)\n", DIFFC_ERR_FORMAT },
        { "{'descr' '|u1', 'fortran_order': False, 'shape': (2,)}\n", DIFFC_ERR_FORMAT },
        { "{'descr': '|u1' 'fortran_order': False, 'shape': (2,)}\n", DIFFC_ERR_FORMAT },
        { "{,}\n", DIFFC_ERR_FORMAT },
        { "{'descr': '\\x7cu1', 'fortran_order': False, 'shape': (2,)}\n", DIFFC_ERR_FORMAT },
        { "__import__('os').system('true')\n", DIFFC_ERR_FORMAT },
        { "\n", DIFFC_ERR_FORMAT },
        { "", DIFFC_ERR_FORMAT },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        hostile(rows[i].header, NPY, make_npy(1, rows[i].header, 2), rows[i].status,
                rows[i].status ? "npy" : NULL);
    struct bytes nested = { 0 };
    bytes_text(&nested, "{'descr': '|u1', 'fortran_order': False, 'shape': ");
    bytes_fill(&nested, '(', 9000);
    bytes_put(&nested, "\n", 2);
    hostile("N5 nested", NPY, make_npy(1, (const char *)nested.data, 2), DIFFC_ERR_FORMAT, NULL);
    nested.size -= 2;
    bytes_fill(&nested, '(', 100000);
    bytes_put(&nested, "\n", 2);
    hostile("N5 nested 10^5", NPY, make_npy(2, (const char *)nested.data, 2), DIFFC_ERR_LIMIT, NULL);
    bytes_free(&nested);
}

static void test_n6_data(void **state)
{
    (void)state;
    hostile("N6 short", NPY, make_npy(1, NPY_HEADER("'<f4'", "False", "(2, 3)"), 23), DIFFC_ERR_TRUNCATED,
            "24");
    hostile("N6 long", NPY, make_npy(1, NPY_HEADER("'<f4'", "False", "(2, 3)"), 25), DIFFC_ERR_FORMAT,
            "1 bytes behind");
    const size_t before = io_memory.peak = io_memory.bytes;
    hostile("N6 claims 4 GB", NPY, make_npy(1, NPY_HEADER("'<f4'", "False", "(1073741824,)"), 5),
            DIFFC_ERR_TRUNCATED, NULL);
    assert_true(io_memory.peak - before < 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_n1_prefix),  cmocka_unit_test(test_n2_descr), cmocka_unit_test(test_n4_shape),
        cmocka_unit_test(test_n5_grammar), cmocka_unit_test(test_n6_data),
    };
    return cmocka_run_group_tests(tests, hostile_setup, hostile_teardown);
}
