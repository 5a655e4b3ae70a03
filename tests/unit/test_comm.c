/* Sums, agreements and broadcasts over ranks that are threads of one process. */

#include "train_case.h"

#include <math.h>

#include "base/comm.h"
#include "comm_case.h"
#include "deterministic.h"

typedef void (*rank_fn)(struct dfi_comm *comm, void *shared);

struct seat {
    struct cc_rank own;
    rank_fn run;
    void *shared;
    pthread_t thread;
};

static void *sit(void *opaque)
{
    struct seat *seat = opaque;
    struct dfi_comm comm;
    assert_int_equal(dfi_comm_init(&comm, &seat->own.communicator, 8), DIFFC_OK);
    comm.scratch = malloc(DFI_COMM_SCRATCH);
    seat->run(&comm, seat->shared);
    free(comm.scratch);
    cc_leave(seat->own.world, seat->own.rank);
    return NULL;
}

static void with_ranks(struct cc_world *world, int size, rank_fn run, void *shared)
{
    struct seat seats[CC_RANKS];
    for (int r = 0; r < size; r++) {
        cc_rank_open(&seats[r].own, world, r);
        seats[r].run = run;
        seats[r].shared = shared;
        assert_int_equal(pthread_create(&seats[r].thread, NULL, sit, &seats[r]), 0);
    }
    for (int r = 0; r < size; r++)
        pthread_join(seats[r].thread, NULL);
}

struct sums {
    size_t n, element;
    char *values[CC_RANKS]; /* in, then the sums */
    int status[CC_RANKS];
};

static void sum_one(struct dfi_comm *comm, void *shared)
{
    struct sums *sums = shared;
    sums->status[comm->rank] = dfi_comm_sum(comm, sums->values[comm->rank], sums->n, sums->element, DIFFC_OK);
}

/* ((0 1)(2 3))((4 5)(6 7)) */
static double tree(const struct sums *sums, size_t i, int first, int size)
{
    if (size == 1)
        return sums->element == 8 ? ((const double *)(const void *)sums->values[first])[i]
                                  : (double)((const float *)(const void *)sums->values[first])[i];
    const double a = tree(sums, i, first, size / 2), b = tree(sums, i, first + size / 2, size / 2);
    return sums->element == 8 ? a + b : (double)((float)a + (float)b);
}

static void check_sum(int size, size_t n, size_t element)
{
    struct sums sums = { .n = n, .element = element };
    struct cc_world world;
    double *wanted = malloc(n * sizeof(double) + 1);
    uint64_t state = dt_seed("comm");
    cc_open(&world, size);
    for (int r = 0; r < size; r++) {
        sums.values[r] = malloc(n * element + 1);
        for (size_t i = 0; i < n; i++) {
            const double value = dt_next(&state) * exp(9 * dt_next(&state));
            if (element == 8)
                ((double *)(void *)sums.values[r])[i] = value;
            else
                ((float *)(void *)sums.values[r])[i] = (float)value;
        }
    }
    for (size_t i = 0; i < n; i++)
        wanted[i] = tree(&sums, i, 0, size);
    with_ranks(&world, size, sum_one, &sums);
    for (int r = 0; r < size; r++) {
        assert_int_equal(sums.status[r], DIFFC_OK);
        assert_memory_equal(sums.values[0], sums.values[r], n * element);
    }
    for (size_t i = 0; i < n; i++) {
        const double got = element == 8 ? ((double *)(void *)sums.values[0])[i]
                                        : (double)((float *)(void *)sums.values[0])[i];
        assert_true(got == wanted[i]);
    }
    for (int r = 0; r < size; r++)
        free(sums.values[r]);
    free(wanted);
    cc_close(&world);
}

static void sums_follow_the_tree(void **state)
{
    static const size_t counts[] = { 1, 2, 3, 7, 64, 511, 512, 513, 1025, 5000, 300007 };
    (void)state;
    for (int size = 1; size <= 8; size *= 2)
        for (int k = 0; k < DFI_COUNT(counts); k++) {
            check_sum(size, counts[k], sizeof(float));
            check_sum(size, counts[k], sizeof(double));
        }
}

static void agree_one(struct dfi_comm *comm, void *shared)
{
    int *statuses = shared;
    const int own = statuses[comm->rank];
    const int status = dfi_comm_agree(comm, own < 0 ? dfi_fail(own, "my own trouble") : own);
    statuses[comm->rank] = status;
    if (own < 0)
        assert_string_equal(dfi_message(), "my own trouble");
    else if (status < 0)
        assert_non_null(strstr(dfi_message(), "rank 2 has failed with status -9"));
    /* The sums take part in it, small and large. */
    double values[3] = { 1, 2, 3 };
    assert_int_equal(dfi_comm_sum(comm, values, 3, sizeof(double), own), status);
    if (status < 0)
        assert_true(values[0] == 1);
    float *many = calloc(2000, sizeof(float));
    assert_int_equal(dfi_comm_sum(comm, many, 2000, sizeof(float), own), status);
    free(many);
}

static void one_failure_is_all_failures(void **state)
{
    (void)state;
    for (int size = 4; size <= 8; size *= 2) {
        int good[CC_RANKS] = { 0 }, bad[CC_RANKS] = { 0, -3, -9, 0, 0, 0, 0, 0 };
        struct cc_world world;
        cc_open(&world, size);
        with_ranks(&world, size, agree_one, good);
        cc_close(&world);
        cc_open(&world, size);
        with_ranks(&world, size, agree_one, bad);
        cc_close(&world);
        for (int r = 0; r < size; r++) {
            assert_int_equal(good[r], 0);
            assert_int_equal(bad[r], r == 1 ? -3 : -9);
        }
    }
}

static void broadcast_one(struct dfi_comm *comm, void *shared)
{
    const size_t bytes = 2 * DIFFC_EXCHANGE_BYTES + 77;
    char *data = malloc(bytes);
    (void)shared;
    for (size_t i = 0; i < bytes; i++)
        data[i] = comm->rank == 0 ? (char)(i % 251) : 0;
    assert_int_equal(dfi_comm_broadcast(comm, data, bytes), DIFFC_OK);
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal((unsigned char)data[i], i % 251);
    free(data);
}

static void broadcasts_reach_all(void **state)
{
    (void)state;
    for (int size = 1; size <= 8; size *= 2) {
        struct cc_world world;
        cc_open(&world, size);
        with_ranks(&world, size, broadcast_one, NULL);
        cc_close(&world);
    }
}

static void lose_one(struct dfi_comm *comm, void *shared)
{
    int *statuses = shared;
    double values[10] = { 0 };
    int status = DIFFC_OK;
    for (int i = 0; i < 6 && status == DIFFC_OK; i++)
        status = dfi_comm_sum(comm, values, 10, sizeof(double), DIFFC_OK);
    assert_non_null(strstr(dfi_message(), "exchange with"));
    assert_int_equal(dfi_comm_agree(comm, DIFFC_OK), DIFFC_ERR_IO); /* and so do all that follow */
    statuses[comm->rank] = status;
}

/* Nobody hangs, whichever rank is lost and when. */
static void lost_ranks_end_the_others(void **state)
{
    (void)state;
    for (int lost = 0; lost < 8; lost += 3)
        for (int at = 0; at < 15; at += 2) {
            int statuses[CC_RANKS] = { 0 };
            struct cc_world world;
            cc_open(&world, 8);
            world.leave_rank = lost;
            world.leave_at = at;
            with_ranks(&world, 8, lose_one, statuses);
            for (int r = 0; r < 8; r++)
                assert_int_equal(statuses[r], DIFFC_ERR_IO);
            cc_close(&world);
        }
}

static void bad_communicators(void **state)
{
    (void)state;
    struct dfi_comm comm;
    diffc_communicator given = DIFFC_COMMUNICATOR;
    tc_fails(dfi_comm_init(&comm, &given, 8), DIFFC_ERR_ARG, "rank 0 of 0");
    given.size = 2;
    tc_fails(dfi_comm_init(&comm, &given, 8), DIFFC_ERR_ARG, "exchange");
    given.exchange = cc_exchange;
    given.rank = 2;
    tc_fails(dfi_comm_init(&comm, &given, 8), DIFFC_ERR_ARG, "rank 2 of 2");
    given.rank = -1;
    tc_fails(dfi_comm_init(&comm, &given, 8), DIFFC_ERR_ARG, "rank -1 of 2");
    given.rank = 1;
    for (int size = 2; size <= 17; size++) {
        given.size = size;
        if (8 % size == 0)
            tc_ok(dfi_comm_init(&comm, &given, 8));
        else
            tc_fails(dfi_comm_init(&comm, &given, 8), DIFFC_ERR_CONFIG, "ranks do not divide the 8 lanes");
    }
    assert_int_equal(diffc_fail(-7, "two\nlines"), -7);
    assert_string_equal(diffc_message(), "two lines");
    assert_int_equal(diffc_fail(3, NULL), 3);
    assert_string_equal(diffc_message(), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_follow_the_tree), cmocka_unit_test(one_failure_is_all_failures),
        cmocka_unit_test(broadcasts_reach_all), cmocka_unit_test(lost_ranks_end_the_others),
        cmocka_unit_test(bad_communicators),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
