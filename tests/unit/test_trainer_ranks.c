/* Trainers on several ranks, here threads of one process: the bits of the plain program, and how it ends when
 * one of them is in trouble. */

#include "train_case.h"

#include "comm_case.h"

struct job {
    const char *objective; /* NULL: a classifier */
    int width;             /* of the UNet */
    diffc_trainer_options options;
    int64_t samples;
    int steps;
    const char *directory; /* resumes from it, and saves into it at the end */
    int broken_rank;       /* its data set cannot be read; -1: nobody */
    int cancelled_rank;    /* is cancelled before each step, once */
    int other_rank;        /* has another learning rate */
    int refused_rank;      /* asks for an optimizer that there is not */
    int careless_rank;     /* asks for a report of no size */
    int short_rank;        /* evaluates fewer samples */
};

struct outcome {
    int created, status, evaluated, resumed;
    char message[256];
    size_t bytes;
    char *weights; /* weights, statistics and averages */
    double loss, accuracy, evaluation;
    int64_t step;
};

static struct job small_job(const char *objective)
{
    struct job job = {
        .objective = objective, .width = 4, .options = DIFFC_TRAINER_OPTIONS, .samples = 27, .steps = 6
    };
    job.options.batch = 10; /* and the last of an epoch has 7 */
    job.options.epochs = 4;
    job.options.learning_rate = 3e-3;
    job.options.seed = 11;
    job.options.decay = "exponential";
    job.options.ema_decay = 0.9;
    job.options.clip_norm = 0.5;
    job.broken_rank = job.cancelled_rank = job.other_rank = job.refused_rank = -1;
    job.careless_rank = job.short_rank = -1;
    return job;
}

static int refuse_sample(void *opaque, int64_t index, float *image, int32_t *label)
{
    (void)opaque;
    (void)index;
    (void)image;
    (void)label;
    return -1234;
}

static diffc_dataset *open_data(diffc_context *context, const struct job *job, int rank)
{
    diffc_dataset *data = NULL;
    if (rank != job->broken_rank)
        return tc_data(context, job->samples);
    tc_ok(
        diffc_dataset_from_function(context, job->samples, 1, TC_SIDE, TC_SIDE, refuse_sample, NULL, &data));
    return data;
}

static void keep_weights(const diffc_trainer *trainer, const diffc_model *model, struct outcome *outcome)
{
    diffc_model *average = NULL;
    size_t own, averaged;
    tc_ok(diffc_trainer_ema_model(trainer, &average));
    float *weights = tc_weights(model, &own), *ema = tc_weights(average, &averaged);
    outcome->bytes = own + averaged;
    outcome->weights = malloc(outcome->bytes);
    memcpy(outcome->weights, weights, own);
    memcpy(outcome->weights + own, ema, averaged);
    free(weights);
    free(ema);
    diffc_release(&average);
}

static void train(const struct job *job, diffc_trainer *trainer, diffc_context *context, int rank,
                  struct outcome *outcome)
{
    diffc_train_report report = DIFFC_TRAIN_REPORT;
    if (rank == job->careless_rank)
        report.struct_size = 0;
    for (int i = 0; i < job->steps && outcome->status == DIFFC_OK; i++) {
        if (job->cancelled_rank >= 0) {
            if (rank == job->cancelled_rank)
                diffc_context_cancel(context);
            if (diffc_trainer_step(trainer, NULL) != DIFFC_ERR_CANCELLED)
                outcome->status = DIFFC_ERR_STATE;
        }
        if (outcome->status == DIFFC_OK)
            outcome->status = diffc_trainer_step(trainer, &report);
    }
    outcome->loss = report.loss;
}

static void run_rank(const struct job *job, int threads, const diffc_communicator *communicator,
                     struct outcome *outcome)
{
    const int rank = communicator ? communicator->rank : 0;
    diffc_context *context = tc_context(threads);
    diffc_dataset *data = NULL;
    diffc_model *model = NULL;
    diffc_trainer *trainer = NULL;
    diffc_train_report report = DIFFC_TRAIN_REPORT;
    diffc_trainer_options options = job->options;
    if (job->objective) {
        model = tc_model_of_width(context, job->objective, job->width);
        data = open_data(context, job, rank);
    } else {
        tc_classifier(context, &data, &model);
    }
    options.communicator = communicator;
    if (rank == job->other_rank)
        options.learning_rate *= 2;
    if (rank == job->refused_rank)
        options.optimizer = "sgd";
    outcome->status = outcome->created = diffc_trainer_create(model, data, &options, &trainer);
    if (trainer && job->directory && access(job->directory, F_OK) == 0)
        outcome->status = outcome->resumed = diffc_trainer_resume(trainer, job->directory);
    if (outcome->status == DIFFC_OK)
        train(job, trainer, context, rank, outcome);
    snprintf(outcome->message, sizeof(outcome->message), "%s", diffc_message());
    if (outcome->status == DIFFC_OK) {
        diffc_dataset *judged = rank == job->short_rank ? tc_data(context, job->samples - 20)
                                                        : diffc_retain(data);
        outcome->evaluated = diffc_trainer_evaluate(trainer, judged, 5, 1, &outcome->evaluation,
                                                    &outcome->accuracy);
        diffc_release(&judged);
        keep_weights(trainer, model, outcome);
        if (job->directory)
            tc_ok(diffc_trainer_save(trainer, job->directory, 2));
    }
    if (trainer)
        tc_ok(diffc_trainer_report(trainer, &report));
    outcome->step = report.step;
    diffc_release(&trainer);
    diffc_release(&model);
    diffc_release(&data);
    diffc_release(&context);
}

struct seat {
    struct cc_rank own;
    const struct job *job;
    struct outcome *outcome;
    int threads;
    pthread_t thread;
};

static void *sit(void *opaque)
{
    struct seat *seat = opaque;
    run_rank(seat->job, seat->threads, &seat->own.communicator, seat->outcome);
    cc_leave(seat->own.world, seat->own.rank);
    return NULL;
}

/* Runs a job on `size` ranks; 0: the plain program. */
static void run_in(struct cc_world *world, const struct job *job, int size, int threads,
                   struct outcome outcomes[CC_RANKS])
{
    struct seat seats[CC_RANKS];
    memset(outcomes, 0, CC_RANKS * sizeof(*outcomes));
    if (size == 0) {
        run_rank(job, threads, NULL, outcomes);
        return;
    }
    for (int r = 0; r < size; r++) {
        cc_rank_open(&seats[r].own, world, r);
        seats[r].job = job;
        seats[r].outcome = &outcomes[r];
        seats[r].threads = 1 + (threads + r - 1) % 3; /* 1 to 3, and not the same for all */
        assert_int_equal(pthread_create(&seats[r].thread, NULL, sit, &seats[r]), 0);
    }
    for (int r = 0; r < size; r++)
        pthread_join(seats[r].thread, NULL);
}

static void run(const struct job *job, int size, int threads, struct outcome outcomes[CC_RANKS])
{
    struct cc_world world;
    cc_open(&world, size);
    run_in(&world, job, size, threads, outcomes);
    cc_close(&world);
}

static void free_outcomes(struct outcome outcomes[CC_RANKS])
{
    for (int r = 0; r < CC_RANKS; r++)
        free(outcomes[r].weights);
}

static void expect_same(const struct outcome *alone, const struct outcome *outcomes, int size)
{
    for (int r = 0; r < size; r++) {
        if (outcomes[r].status < 0)
            print_error("rank %d: %s\n", r, outcomes[r].message);
        assert_int_equal(outcomes[r].status, DIFFC_OK);
        assert_int_equal(outcomes[r].evaluated, DIFFC_OK);
        assert_int_equal(outcomes[r].bytes, alone->bytes);
        assert_memory_equal(outcomes[r].weights, alone->weights, alone->bytes);
        assert_memory_equal(&outcomes[r].loss, &alone->loss, sizeof(double));
        assert_memory_equal(&outcomes[r].evaluation, &alone->evaluation, sizeof(double));
        assert_memory_equal(&outcomes[r].accuracy, &alone->accuracy, sizeof(double));
    }
}

static void check_same_bits(const struct job *job)
{
    struct outcome alone[CC_RANKS], outcomes[CC_RANKS];
    run(job, 0, 1, alone);
    assert_int_equal(alone[0].status, DIFFC_OK);
    for (int size = 1; size <= 8; size *= 2)
        for (int threads = 1; threads <= 3; threads++) {
            run(job, size, threads, outcomes);
            expect_same(alone, outcomes, size);
            free_outcomes(outcomes);
        }
    free_outcomes(alone);
}

static void ranks_leave_no_trace(void **state)
{
    static const char *const objectives[] = { "ddpm", "flow", "denoise", NULL };
    (void)state;
    for (int k = 0; k < 4; k++) {
        const struct job job = small_job(objectives[k]);
        check_same_bits(&job);
    }
}

static void nor_when_gradients_accumulate(void **state)
{
    (void)state;
    struct job job = small_job("ddpm");
    job.options.accumulate = 2;
    job.options.optimizer = "adamw";
    job.options.weight_decay = 0.01;
    check_same_bits(&job);
}

/* A batch of 5, and in the end one of 2: some of 4 or 8 ranks have no sample at all. With 16 channels
 * convolutions go by Winograd's filtering, whose pieces were once counted by a division by no sample. */
static void nor_with_ranks_that_have_no_sample(void **state)
{
    (void)state;
    struct job job = small_job("ddpm");
    job.options.batch = 5;
    check_same_bits(&job);
    job.width = 16;
    check_same_bits(&job);
    job = small_job(NULL);
    job.options.batch = 5;
    check_same_bits(&job);
}

/* A lane is a larger part of what a rank has: its rows were once written behind a worker's scratch. */
static void nor_with_large_batches(void **state)
{
    (void)state;
    struct job job = small_job("ddpm");
    struct outcome alone[CC_RANKS], outcomes[CC_RANKS];
    job.options.batch = 4096;
    job.options.epochs = 1;
    job.samples = 4096;
    job.steps = 1;
    run(&job, 0, 2, alone);
    for (int size = 2; size <= 8; size *= 2) {
        run(&job, size, 2, outcomes);
        expect_same(alone, outcomes, size);
        free_outcomes(outcomes);
    }
    free_outcomes(alone);
}

static void other_rank_counts_resume(void **state)
{
    static const int sizes[][2] = { { 1, 2 }, { 2, 4 }, { 4, 1 }, { 8, 0 }, { 0, 8 }, { 4, 2 } };
    char directory[64];
    (void)state;
    struct outcome whole[CC_RANKS], first[CC_RANKS], second[CC_RANKS];
    struct job job = small_job("ddpm");
    job.steps = 8;
    run(&job, 0, 2, whole);
    for (int k = 0; k < DFI_COUNT(sizes); k++) {
        tc_directory(directory);
        tc_remove(directory);
        job.directory = directory;
        job.steps = 3;
        run(&job, sizes[k][0], 1, first);
        assert_int_equal(first[0].status, DIFFC_OK);
        assert_int_equal(tc_count_files(directory, "ckpt-"), 1);
        job.steps = 5;
        run(&job, sizes[k][1], 2, second);
        expect_same(whole, second, sizes[k][1] ? sizes[k][1] : 1);
        free_outcomes(first);
        free_outcomes(second);
        tc_remove(directory);
    }
    free_outcomes(whole);
}

static void cancels_concern_all_ranks(void **state)
{
    (void)state;
    struct outcome alone[CC_RANKS], outcomes[CC_RANKS];
    struct job job = small_job("ddpm");
    run(&job, 0, 1, alone);
    for (int rank = 0; rank < 4; rank++) {
        job.cancelled_rank = rank;
        run(&job, 4, 1, outcomes);
        expect_same(alone, outcomes, 4);
        free_outcomes(outcomes);
    }
    free_outcomes(alone);
}

static void trouble_of_one_ends_the_step_of_all(void **state)
{
    (void)state;
    struct outcome outcomes[CC_RANKS];
    struct job job = small_job("ddpm");
    job.broken_rank = 1;
    run(&job, 4, 1, outcomes);
    for (int r = 0; r < 4; r++) {
        assert_int_equal(outcomes[r].status, -1234);
        assert_non_null(
            strstr(outcomes[r].message, r == 1 ? "sample" : "rank 1 has failed with status -1234"));
        assert_int_equal(outcomes[r].step, 0);
    }
}

static void ranks_must_be_alike(void **state)
{
    (void)state;
    struct outcome outcomes[CC_RANKS];
    struct job job = small_job("ddpm");
    job.other_rank = 2;
    run(&job, 4, 1, outcomes);
    for (int r = 0; r < 4; r++) {
        assert_int_equal(outcomes[r].created, DIFFC_ERR_CONFIG);
        assert_non_null(strstr(outcomes[r].message, r == 2 ? "rank 2 has learning_rate 6" : "rank 2"));
    }
}

/* Options that one rank is refused: the others once waited for it. */
static void what_one_is_refused_ends_all(void **state)
{
    (void)state;
    struct outcome outcomes[CC_RANKS];
    struct job job = small_job("ddpm");
    job.refused_rank = 1;
    run(&job, 2, 1, outcomes);
    for (int r = 0; r < 2; r++)
        assert_int_equal(outcomes[r].created, DIFFC_ERR_ARG);
    assert_non_null(strstr(outcomes[0].message, "rank 1"));
    assert_non_null(strstr(outcomes[1].message, "known: adam, adamw"));
}

/* Nor does one wait for another that looked at its own arguments first. */
static void what_one_asks_wrongly_ends_all(void **state)
{
    (void)state;
    struct outcome outcomes[CC_RANKS];
    struct job job = small_job("ddpm");
    job.careless_rank = 1;
    run(&job, 2, 1, outcomes);
    for (int r = 0; r < 2; r++)
        assert_int_equal(outcomes[r].status, DIFFC_ERR_ARG);
    free_outcomes(outcomes);
    job = small_job("ddpm");
    job.short_rank = 0;
    run(&job, 2, 1, outcomes);
    for (int r = 0; r < 2; r++) {
        assert_int_equal(outcomes[r].status, DIFFC_OK);
        assert_int_equal(outcomes[r].evaluated, DIFFC_ERR_CONFIG);
    }
    free_outcomes(outcomes);
}

/* Whenever a rank is lost, the others end with an error, and the last checkpoint is good. */
static void a_lost_rank_costs_no_checkpoint(void **state)
{
    char directory[64], path[128];
    (void)state;
    struct outcome outcomes[CC_RANKS], whole[CC_RANKS];
    struct job job = small_job("ddpm");
    int64_t step = 0;
    job.steps = 9;
    run(&job, 0, 2, whole);
    tc_directory(directory);
    tc_remove(directory);
    job.directory = directory;
    job.steps = 4;
    run(&job, 2, 1, outcomes);
    free_outcomes(outcomes);
    diffc_context *context = tc_context(1);
    snprintf(path, sizeof(path), "%s/ckpt-000000004.safetensors", directory);
    for (int at = 1; at < 400; at = at * 3 + 1) {
        struct cc_world world;
        cc_open(&world, 4);
        world.leave_rank = at % 4;
        world.leave_at = at;
        run_in(&world, &job, 4, 1, outcomes);
        for (int r = 0; r < 4; r++)
            assert_int_equal(outcomes[r].status, DIFFC_ERR_IO);
        cc_close(&world);
        tc_ok(diffc_checkpoint_verify(context, path, &step));
        assert_int_equal(step, 4);
    }
    job.steps = 5;
    run(&job, 2, 1, outcomes);
    expect_same(whole, outcomes, 2);
    free_outcomes(outcomes);
    free_outcomes(whole);
    diffc_release(&context);
    tc_remove(directory);
}

/* Batches of the caller's own: every rank brings its part. */
struct own_batch {
    struct cc_rank own;
    int64_t first, count;
    int status;
    double loss;
    size_t bytes;
    float *weights;
    char message[256];
    pthread_t thread;
};

static void *bring_batch(void *opaque)
{
    struct own_batch *batch = opaque;
    diffc_context *context = tc_context(1);
    diffc_dataset *data = tc_data(context, 30);
    diffc_model *model = tc_model(context, "denoise");
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    diffc_tensor *x = NULL, *target = NULL, *output = NULL;
    const int64_t shape[4] = { batch->count, 1, TC_SIDE, TC_SIDE };
    options.batch = 20;
    options.communicator = batch->own.world ? &batch->own.communicator : NULL;
    diffc_trainer *trainer = tc_trainer(model, data, &options);
    tc_ok(diffc_tensor_create(context, DIFFC_F32, 4, shape, &x));
    tc_ok(diffc_tensor_create(context, DIFFC_F32, 4, shape, &target));
    tc_ok(diffc_tensor_create(context, DIFFC_F32, 4, shape, &output));
    for (int64_t i = 0; i < diffc_tensor_count(x); i++) {
        const int64_t at = i + batch->first * TC_SIDE * TC_SIDE;
        ((float *)diffc_tensor_data(x))[i] = (float)(at * 7 % 31) / 31.0f;
        ((float *)diffc_tensor_data(target))[i] = (float)(at * 5 % 17) / 17.0f;
    }
    const diffc_binding inputs[1] = { { "x", x } };
    batch->status = diffc_trainer_gradients(trainer, inputs, 1, target, output, &batch->loss);
    snprintf(batch->message, sizeof(batch->message), "%s", diffc_message());
    if (batch->status == DIFFC_OK) {
        /* What is refused on one rank leaves the gradients of all as they are. */
        const int spoils = batch->own.world && batch->own.rank == 1;
        const int status = diffc_trainer_gradients(trainer, inputs, !spoils, target, output, NULL);
        assert_int_equal(status, batch->own.world ? DIFFC_ERR_ARG : DIFFC_OK);
        tc_ok(diffc_trainer_apply(trainer, NULL));
    }
    batch->weights = tc_weights(model, &batch->bytes);
    diffc_release(&x);
    diffc_release(&target);
    diffc_release(&output);
    diffc_release(&trainer);
    diffc_release(&model);
    diffc_release(&data);
    diffc_release(&context);
    return NULL;
}

static void bring(struct own_batch *batches, int size, const int64_t *starts)
{
    struct cc_world world;
    cc_open(&world, size);
    memset(batches, 0, (size_t)size * sizeof(*batches));
    for (int r = 0; r < size; r++) {
        if (size > 1)
            cc_rank_open(&batches[r].own, &world, r);
        batches[r].first = starts[r];
        batches[r].count = starts[r + 1] - starts[r];
        assert_int_equal(pthread_create(&batches[r].thread, NULL, bring_batch, &batches[r]), 0);
    }
    for (int r = 0; r < size; r++)
        pthread_join(batches[r].thread, NULL);
    cc_close(&world);
}

static void own_batches_in_parts(void **state)
{
    (void)state;
    struct own_batch alone[1], parts[4];
    bring(alone, 1, (const int64_t[]) { 0, 19 });
    tc_ok(alone->status);
    bring(parts, 4, (const int64_t[]) { 0, 4, 9, 14, 19 });
    for (int r = 0; r < 4; r++) {
        tc_ok(parts[r].status);
        assert_true(parts[r].loss == alone->loss);
        assert_memory_equal(parts[r].weights, alone->weights, alone->bytes);
        free(parts[r].weights);
    }
    bring(parts, 4, (const int64_t[]) { 0, 5, 10, 15, 19 });
    for (int r = 0; r < 4; r++) {
        assert_int_equal(parts[r].status, DIFFC_ERR_ARG);
        free(parts[r].weights);
    }
    assert_non_null(strstr(parts[0].message, "rank 0 of 4 has 5 of 19 samples, must have 4"));
    free(alone->weights);
}

/* The part of a batch that a rank plans for is smaller. */
static void memory_is_shared(void **state)
{
    (void)state;
    struct cc_world world;
    struct cc_rank own;
    int64_t alone, shared;
    diffc_context *context = tc_context(1);
    diffc_dataset *data = tc_data(context, 300);
    diffc_model *model = tc_model(context, "ddpm");
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    cc_open(&world, 4);
    cc_rank_open(&own, &world, 3);
    options.batch = 256;
    tc_ok(diffc_trainer_bytes(model, data, &options, &alone));
    options.communicator = &own.communicator;
    tc_ok(diffc_trainer_bytes(model, data, &options, &shared));
    assert_true(shared < alone / 2);
    own.communicator.size = 3;
    own.communicator.rank = 0;
    tc_fails(diffc_trainer_bytes(model, data, &options, &shared), DIFFC_ERR_CONFIG, "3 ranks");
    diffc_trainer *trainer = NULL;
    tc_fails(diffc_trainer_create(model, data, &options, &trainer), DIFFC_ERR_CONFIG, "3 ranks");
    assert_null(trainer);
    cc_close(&world);
    diffc_release(&model);
    diffc_release(&data);
    diffc_release(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_leave_no_trace),
        cmocka_unit_test(nor_when_gradients_accumulate),
        cmocka_unit_test(nor_with_ranks_that_have_no_sample),
        cmocka_unit_test(nor_with_large_batches),
        cmocka_unit_test(other_rank_counts_resume),
        cmocka_unit_test(cancels_concern_all_ranks),
        cmocka_unit_test(trouble_of_one_ends_the_step_of_all),
        cmocka_unit_test(ranks_must_be_alike),
        cmocka_unit_test(what_one_is_refused_ends_all),
        cmocka_unit_test(what_one_asks_wrongly_ends_all),
        cmocka_unit_test(a_lost_rank_costs_no_checkpoint),
        cmocka_unit_test(own_batches_in_parts),
        cmocka_unit_test(memory_is_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
