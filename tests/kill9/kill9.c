/* Kills a training run at random moments, many of them while a checkpoint is being written, and goes on each
 * time from what is on disk. Nothing that was saved may be lost or damaged, and in the end the checkpoint
 * must have the bytes of a run that nobody has disturbed.
 *
 *   kill9 [KILLS [SEED]]
 *
 * The child is this program too: kill9 --train DIRECTORY SHARED THREADS. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <diffc/diffc.h>

#define SIDE 8
#define SAMPLES 12
#define EPOCHS 100 /* of 3 updates: batches of 5, 5 and 2 */
#define INSIDE_WANTED 10
#define KILLS_MAX 2000

/* What the child tells: survives it. */
struct shared {
    atomic_int saving;      /* 1 from before the call of diffc_trainer_save() until after it */
    atomic_llong saved;     /* the last step whose save returned */
    atomic_llong save_time; /* nanoseconds of the last save */
};

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "kill9: %s: %s\n", what, diffc_message());
    exit(1);
}

static struct shared *map_shared(const char *path)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct shared)) != 0)
        fail(path);
    void *at = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at == MAP_FAILED)
        fail(path);
    return at;
}

/* ---- the child ---- */

static int read_sample(void *opaque, int64_t index, float *image, int32_t *label)
{
    (void)opaque;
    for (int i = 0; i < SIDE * SIDE; i++)
        image[i] = (float)((i * 37 + index * 11) % 17) / 16.0f;
    *label = (int32_t)(index % 10);
    return 0;
}

static diffc_trainer *make_trainer(diffc_context *context)
{
    diffc_model_options shape = DIFFC_MODEL_OPTIONS;
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    diffc_model *model = NULL;
    diffc_dataset *data = NULL;
    diffc_trainer *trainer = NULL;
    shape.image_height = SIDE;
    shape.width = 4;
    shape.condition = "class";
    shape.train_steps = 50;
    shape.objective = "ddpm";
    options.batch = 5;
    options.epochs = EPOCHS;
    options.seed = 9;
    options.ema_decay = 0.99;
    options.decay = "cosine";
    if (diffc_model_create(context, "cs180_unet", &shape, &model) ||
        diffc_dataset_from_function(context, SAMPLES, 1, SIDE, SIDE, read_sample, NULL, &data) ||
        diffc_trainer_create(model, data, &options, &trainer))
        fail("cannot make the trainer");
    diffc_release(&model);
    diffc_release(&data);
    return trainer;
}

/* Goes on from the directory, or starts, and saves after each step; with `shared` NULL only after the last.
 */
static int train(const char *directory, struct shared *shared, int threads)
{
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    diffc_context *context = NULL;
    options.threads = threads;
    if (diffc_context_create(&options, &context))
        fail("cannot make a context");
    diffc_trainer *trainer = make_trainer(context);
    diffc_train_report report = DIFFC_TRAIN_REPORT;
    const int status = diffc_trainer_resume(trainer, directory);
    if (status != DIFFC_OK && status != DIFFC_ERR_ARG) /* there is none yet */
        fail("cannot resume");
    diffc_trainer_report(trainer, &report);
    while (report.step < report.steps) {
        if (diffc_trainer_step(trainer, &report))
            fail("cannot train");
        if (!shared && report.step < report.steps)
            continue;
        const long long start = now();
        if (shared)
            atomic_store(&shared->saving, 1);
        if (diffc_trainer_save(trainer, directory, 2))
            fail("cannot save");
        if (shared) {
            atomic_store(&shared->saving, 0);
            atomic_store(&shared->saved, report.step);
            atomic_store(&shared->save_time, now() - start);
        }
    }
    diffc_release(&trainer);
    diffc_release(&context);
    return 0;
}

/* ---- the driver ---- */

static unsigned long long dice_state;

static unsigned dice(unsigned sides)
{
    dice_state = dice_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return sides ? (unsigned)(dice_state >> 33) % sides : 0;
}

static void wait_microseconds(unsigned count)
{
    const struct timespec time = { count / 1000000, (long)(count % 1000000) * 1000 };
    nanosleep(&time, NULL);
}

static pid_t start_child(const char *program, const char *directory, const char *shared, int threads)
{
    char count[16];
    snprintf(count, sizeof(count), "%d", threads);
    const pid_t child = fork();
    if (child == 0) {
        execl(program, program, "--train", directory, shared, count, (char *)NULL);
        _exit(127);
    }
    if (child < 0)
        fail("cannot fork");
    return child;
}

/* Waits for a moment to kill at: while a save is under way, or any time. */
static void wait_for_moment(const struct shared *shared, pid_t child, int aims)
{
    siginfo_t ended = { 0 };
    if (!aims) {
        wait_microseconds(dice(200000));
        return;
    }
    wait_microseconds(dice(100000));
    for (int polls = 0; polls < 50000 && !atomic_load(&shared->saving); polls++) {
        if (waitid(P_PID, (id_t)child, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid)
            return;
        wait_microseconds(20);
    }
    const long long length = atomic_load(&shared->save_time);
    wait_microseconds(dice((unsigned)(length > 0 && length < 1000000000 ? length / 1000 : 1000)));
}

struct counts {
    int kills, inside, left_over, finished, verified;
};

/* Every checkpoint there is must be whole, and the newest no older than the last save that returned. */
static void check_directory(diffc_context *context, const char *directory, long long saved,
                            struct counts *counts)
{
    DIR *stream = opendir(directory);
    const struct dirent *entry;
    char path[1024];
    long long newest = 0;
    while (stream && (entry = readdir(stream))) {
        int64_t step = 0;
        counts->left_over += strncmp(entry->d_name, ".ckpt-", 6) == 0;
        if (strncmp(entry->d_name, "ckpt-", 5) != 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        if (diffc_checkpoint_verify(context, path, &step))
            fail("a checkpoint is damaged");
        counts->verified++;
        newest = step > newest ? step : newest;
    }
    if (stream)
        closedir(stream);
    if (newest < saved) {
        fprintf(stderr, "kill9: step %lld was saved, but the newest checkpoint is of step %lld\n", saved,
                newest);
        exit(1);
    }
}

static void empty_directory(const char *directory)
{
    DIR *stream = opendir(directory);
    const struct dirent *entry;
    char path[1024];
    while (stream && (entry = readdir(stream))) {
        snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        if (entry->d_name[0] != '.' || entry->d_name[1] == 'c' || entry->d_name[1] == 'l')
            unlink(path);
    }
    if (stream)
        closedir(stream);
}

static char *load(const char *directory, size_t *size)
{
    char path[1024];
    snprintf(path, sizeof(path), "%s/ckpt-%09d.safetensors", directory, EPOCHS * 3);
    FILE *file = fopen(path, "rb");
    struct stat information;
    if (!file || stat(path, &information) != 0)
        fail(path);
    *size = (size_t)information.st_size;
    char *data = malloc(*size);
    if (!data || fread(data, 1, *size, file) != *size)
        fail(path);
    fclose(file);
    return data;
}

static void compare(const char *directory, const char *reference)
{
    size_t size, wanted_size;
    char *data = load(directory, &size), *wanted = load(reference, &wanted_size);
    if (size != wanted_size || memcmp(data, wanted, size) != 0) {
        fprintf(stderr, "kill9: the interrupted run ended with other bytes\n");
        exit(1);
    }
    free(data);
    free(wanted);
}

/* One child, killed or not; 1 if the run has come to its end. */
static int run_once(const char *program, const char *directory, const char *shared_path,
                    struct shared *shared, int kill_it, struct counts *counts)
{
    int status = 0;
    atomic_store(&shared->saving, 0);
    const pid_t child = start_child(program, directory, shared_path, 1 + (int)dice(3));
    if (kill_it) {
        wait_for_moment(shared, child, counts->kills % 2);
        kill(child, SIGKILL);
    }
    if (waitpid(child, &status, 0) != child)
        fail("waitpid");
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
        counts->kills++;
        counts->inside += atomic_load(&shared->saving);
        return 0;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "kill9: the child ended with status %d\n", status);
        exit(1);
    }
    return 1;
}

static void torment(const char *program, const char *base, int kills, struct counts *counts)
{
    char directory[512], reference[512], shared_path[512];
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    diffc_context *context = NULL;
    options.threads = 1;
    snprintf(directory, sizeof(directory), "%s/run", base);
    snprintf(reference, sizeof(reference), "%s/reference", base);
    snprintf(shared_path, sizeof(shared_path), "%s/shared", base);
    struct shared *shared = map_shared(shared_path);
    if (train(reference, NULL, 2) || diffc_context_create(&options, &context))
        fail("cannot make the reference");

    int ended = 0;
    while ((counts->kills < kills || counts->inside < INSIDE_WANTED) && counts->kills < KILLS_MAX) {
        ended = run_once(program, directory, shared_path, shared, 1, counts);
        check_directory(context, directory, atomic_load(&shared->saved), counts);
        if (ended) {
            compare(directory, reference);
            counts->finished++;
            empty_directory(directory);
            atomic_store(&shared->saved, 0);
        }
    }
    if (!run_once(program, directory, shared_path, shared, 0, counts))
        fail("the last run did not end");
    compare(directory, reference);
    counts->finished++;

    diffc_release(&context);
    munmap(shared, sizeof(*shared));
    empty_directory(directory);
    empty_directory(reference);
    rmdir(directory);
    rmdir(reference);
    unlink(shared_path);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "--train") == 0)
        return train(argv[2], map_shared(argv[3]), atoi(argv[4]));
    const int kills = argc > 1 ? atoi(argv[1]) : 50;
    dice_state = argc > 2 ? strtoull(argv[2], NULL, 10) : 180;
    struct counts counts = { 0, 0, 0, 0, 0 };
    char base[256];
    const char *parent = getenv("TMPDIR");
    snprintf(base, sizeof(base), "%.200s/diffc-kill9-XXXXXX", parent ? parent : "/tmp");
    if (!mkdtemp(base))
        fail(base);
    torment(argv[0], base, kills, &counts);
    rmdir(base);
    printf("kill9: %d kills, %d of them inside a save (%d temporary files left behind); %d checkpoints "
           "verified, "
           "none lost, none damaged; %d runs came to their end with the bytes of the undisturbed one\n",
           counts.kills, counts.inside, counts.left_over, counts.verified, counts.finished);
    return counts.inside >= INSIDE_WANTED ? 0 : 1;
}
