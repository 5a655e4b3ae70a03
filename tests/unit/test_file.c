#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static diffc_context *context;
static char folder[] = "/tmp/diffc-file-XXXXXX";
static char target[64];

/* The system's calls behind a counter: call number `fail_at` fails, or all from there on. */
static struct {
    int calls, fail_at, forever, number;
    int tear; /* 1: no failure, but reads and writes move one byte, and every other call is interrupted */
    int failed;
    char name[16]; /* of the call that failed */
    struct dfi_file_calls system;
} plan;

static int fails(const char *name)
{
    plan.calls++;
    if (plan.tear) {
        errno = EINTR;
        return plan.calls % 2 && strcmp(name, "rename") != 0 && strcmp(name, "unlink") != 0 &&
               strcmp(name, "close") != 0 && strcmp(name, "reserve") != 0;
    }
    if (plan.fail_at == 0 || plan.calls < plan.fail_at || (plan.calls > plan.fail_at && !plan.forever))
        return 0;
    if (!plan.failed)
        (void)snprintf(plan.name, sizeof(plan.name), "%s", name);
    plan.failed = 1;
    errno = plan.number;
    return 1;
}

static int plan_open(const char *path, int flags, mode_t mode)
{
    assert_true(flags & O_CLOEXEC);
    return fails("open") ? -1 : plan.system.open(path, flags, mode);
}

static ssize_t plan_read(int fd, void *data, size_t size)
{
    return fails("read") ? -1 : plan.system.read(fd, data, plan.tear && size ? 1 : size);
}

static ssize_t plan_write(int fd, const void *data, size_t size)
{
    return fails("write") ? -1 : plan.system.write(fd, data, plan.tear && size ? 1 : size);
}

static int plan_reserve(int fd, size_t size)
{
    return fails("reserve") ? -1 : plan.system.reserve(fd, size);
}

static int plan_fsync(int fd)
{
    return fails("fsync") ? -1 : plan.system.fsync(fd);
}

/* A close that reports an error has closed all the same. */
static int plan_close(int fd)
{
    const int closed = plan.system.close(fd);
    return fails("close") ? -1 : closed;
}

static int plan_rename(const char *from, const char *to)
{
    return fails("rename") ? -1 : plan.system.rename(from, to);
}

static int plan_unlink(const char *path)
{
    return fails("unlink") ? -1 : plan.system.unlink(path);
}

static const struct dfi_file_calls planned = { plan_open,  plan_read,  plan_write,  plan_reserve,
                                               plan_fsync, plan_close, plan_rename, plan_unlink };

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    (void)snprintf(target, sizeof(target), "%s/target", folder);
    plan.system = *dfi_file_calls();
    return diffc_context_create(NULL, &context);
}

static int drop_folder(void **state)
{
    (void)state;
    diffc_release(&context);
    unlink(target);
    return rmdir(folder);
}

static int count_entries(const char *path)
{
    int count = 0;
    DIR *directory = opendir(path);
    assert_non_null(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static int save(const char *path, const char *text)
{
    struct dfi_atomic_file file;
    const size_t half = strlen(text) / 2;
    int status = dfi_atomic_begin(context, path, strlen(text), &file);
    if (status == DIFFC_OK)
        status = dfi_atomic_append(&file, text, half);
    if (status == DIFFC_OK)
        status = dfi_atomic_append(&file, text + half, strlen(text) - half);
    if (status == DIFFC_OK)
        status = dfi_atomic_commit(&file);
    dfi_atomic_abort(&file);
    return status;
}

static void expect_content(const char *text)
{
    void *data = NULL;
    size_t size = 0;
    assert_int_equal(dfi_file_load(context, target, 1000, &data, &size), DIFFC_OK);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(data, text, size);
    dfi_free(context, data);
}

static void test_save_and_load(void **state)
{
    (void)state;
    assert_int_equal(save(target, "first"), DIFFC_OK);
    expect_content("first");
    assert_int_equal(save(target, "the second"), DIFFC_OK);
    expect_content("the second");
    assert_int_equal(save(target, ""), DIFFC_OK);
    expect_content("");
    assert_int_equal(count_entries(folder), 3); /* ., .. and the file */
}

static void test_load_limits(void **state)
{
    void *data = NULL;
    size_t size = 0;
    (void)state;
    assert_int_equal(save(target, "12345"), DIFFC_OK);
    assert_int_equal(dfi_file_load(context, target, 5, &data, &size), DIFFC_OK);
    dfi_free(context, data);
    data = NULL;
    assert_int_equal(dfi_file_load(context, target, 4, &data, &size), DIFFC_ERR_LIMIT);
    assert_null(data);
}

static void test_read_past_the_end(void **state)
{
    char data[10];
    int fd;
    size_t size;
    (void)state;
    assert_int_equal(save(target, "12345"), DIFFC_OK);
    assert_int_equal(dfi_file_open(target, &fd, &size), DIFFC_OK);
    assert_int_equal(size, 5);
    assert_int_equal(dfi_file_read(fd, target, data, 3), DIFFC_OK);
    assert_int_equal(dfi_file_read(fd, target, data, 3), DIFFC_ERR_TRUNCATED);
    close(fd);
}

/* Each must be refused at once: nothing here may wait for a writer. */
static void test_what_is_no_file(void **state)
{
    char fifo[64], dangling[64], longer[5000];
    struct stat information;
    int fd = -7;
    size_t size = 7;
    (void)state;
    (void)snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
    (void)snprintf(dangling, sizeof(dangling), "%s/dangling", folder);
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(symlink("nowhere", dangling), 0);
    const char *const paths[] = { fifo, dangling, longer, folder, "/dev/zero", "", "/nonexistent/file" };
    alarm(10);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        assert_int_equal(dfi_file_open(paths[i], &fd, &size), DIFFC_ERR_IO);
        assert_int_equal(fd, -7);
    }
    alarm(0);
    assert_int_equal(save(fifo, "text"), DIFFC_ERR_IO);
    assert_int_equal(save(folder, "text"), DIFFC_ERR_IO);
    assert_int_equal(stat(fifo, &information), 0);
    assert_true(S_ISFIFO(information.st_mode)); /* once a save replaced it, and /dev/null in the same way */
    unlink(fifo);
    unlink(dangling);
    assert_int_equal(save("/nonexistent/file", "text"), DIFFC_ERR_IO);
    assert_int_equal(save("", "text"), DIFFC_ERR_IO);
    assert_int_equal(save("/tmp/", "text"), DIFFC_ERR_IO);
    assert_int_equal(save(longer, "text"), DIFFC_ERR_IO);
}

/* Two writers of one path in one process do not meet; the later commit stays. */
static void test_two_writers(void **state)
{
    struct dfi_atomic_file one, two, three;
    (void)state;
    assert_int_equal(dfi_atomic_begin(context, target, 0, &one), DIFFC_OK);
    assert_int_equal(dfi_atomic_begin(context, target, 0, &two), DIFFC_OK);
    assert_int_equal(dfi_atomic_begin(context, target, 0, &three), DIFFC_OK);
    assert_int_equal(dfi_atomic_append(&one, "one", 3), DIFFC_OK);
    assert_int_equal(dfi_atomic_append(&two, "two", 3), DIFFC_OK);
    assert_int_equal(dfi_atomic_commit(&two), DIFFC_OK);
    expect_content("two");
    assert_int_equal(dfi_atomic_commit(&one), DIFFC_OK);
    expect_content("one");
    dfi_atomic_abort(&three);
    dfi_atomic_abort(&one);
    expect_content("one");
    assert_int_equal(count_entries(folder), 3);
}

static int save_with_plan(int fail_at, int forever, int number)
{
    plan.calls = plan.failed = 0;
    plan.fail_at = fail_at;
    plan.forever = forever;
    plan.number = number;
    dfi_file_calls_set(&planned);
    const int status = save(target, "the new content");
    dfi_file_calls_set(NULL);
    return status;
}

/* Removes what could not be removed because unlink() itself was made to fail. */
static void remove_leftovers(void)
{
    DIR *directory = opendir(folder);
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory));)
        if (strstr(entry->d_name, ".tmp"))
            unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
}

static int fail_every_call(int forever, int number)
{
    int points = 0;
    for (;; points++) {
        assert_int_equal(save(target, "the old content"), DIFFC_OK);
        const int descriptors = count_entries("/proc/self/fd");
        const int status = save_with_plan(points + 1, forever, number);
        if (!plan.failed) {
            assert_int_equal(status, DIFFC_OK);
            break;
        }
        assert_int_equal(count_entries("/proc/self/fd"), descriptors);
        /* after the rename the file is new and whole, whatever happens to the directory */
        const int renamed = points + 1 > 7;
        expect_content(renamed || status == DIFFC_OK ? "the new content" : "the old content");
        assert_int_equal(status, DIFFC_ERR_IO);
        if (!forever)
            assert_int_equal(count_entries(folder), 3);
        remove_leftovers();
    }
    expect_content("the new content");
    return points;
}

static void test_every_call_may_fail(void **state)
{
    static const int numbers[] = { EIO, ENOSPC, EDQUOT, EFBIG, EROFS, EACCES };
    int points = 0;
    (void)state;
    for (int i = 0; i < 6; i++)
        for (int forever = 0; forever < 2; forever++)
            points += fail_every_call(forever, numbers[i]);
    print_message("%d failing calls\n", points);
    /* open, reserve, write, write, fsync, close, rename; open, fsync and close of the directory */
    assert_int_equal(points, 12 * 10);
}

static void test_short_and_interrupted_calls(void **state)
{
    (void)state;
    plan.tear = 1;
    plan.calls = plan.fail_at = 0;
    dfi_file_calls_set(&planned);
    const int status = save(target, "piece by piece");
    expect_content("piece by piece");
    dfi_file_calls_set(NULL);
    plan.tear = 0;
    assert_int_equal(status, DIFFC_OK);
}

static void test_reads_may_fail(void **state)
{
    (void)state;
    assert_int_equal(save(target, "text"), DIFFC_OK);
    for (int fail_at = 1; fail_at < 3; fail_at++) {
        void *data = NULL;
        size_t size = 0;
        const int descriptors = count_entries("/proc/self/fd");
        plan.calls = plan.failed = 0;
        plan.fail_at = fail_at;
        plan.number = EIO;
        dfi_file_calls_set(&planned);
        const int status = dfi_file_load(context, target, 100, &data, &size);
        dfi_file_calls_set(NULL);
        assert_int_equal(status, DIFFC_ERR_IO);
        assert_null(data);
        assert_int_equal(count_entries("/proc/self/fd"), descriptors);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_save_and_load),
        cmocka_unit_test(test_load_limits),
        cmocka_unit_test(test_read_past_the_end),
        cmocka_unit_test(test_what_is_no_file),
        cmocka_unit_test(test_two_writers),
        cmocka_unit_test(test_every_call_may_fail),
        cmocka_unit_test(test_short_and_interrupted_calls),
        cmocka_unit_test(test_reads_may_fail),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
