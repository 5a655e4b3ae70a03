/* Compares npy files, for the tests of the programs. Values are float32.
 *
 *   check_npy shape FILE N,...            the file has this shape
 *   check_npy near A B TOLERANCE          no value differs by more
 *   check_npy one_step X EPS T X0 TOL     X0 is the estimate (x - sqrt(1 - ab) eps) / sqrt(ab), eps the first
 *                                         channels of EPS, ab that of squaredcos_cap_v2 at timestep T
 *   check_npy outside A B TOLERANCE       near, but for the middle half of the rows and columns
 *   check_npy batch A OUT                 writes [C, H, W] as [1, C, H, W]
 *   check_npy noisy X0 T X TOL            the noise that makes X of X0 at timestep T has mean 0 and variance
 * 1 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <diffc/diffc.h>

static diffc_context *context;

static diffc_tensor *read_npy(const char *path)
{
    diffc_tensor *tensor = NULL;
    if (diffc_npy_read(context, path, &tensor) || diffc_tensor_dtype(tensor) != DIFFC_F32) {
        fprintf(stderr, "check_npy: %s: %s\n", path, tensor ? "not float32" : diffc_message());
        exit(2);
    }
    return tensor;
}

static int check_shape(const char *path, const char *expected)
{
    char text[128] = "";
    size_t used = 0;
    diffc_tensor *tensor = read_npy(path);
    for (int i = 0; i < diffc_tensor_ndim(tensor); i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%lld", i ? "," : "",
                                 (long long)diffc_tensor_dim(tensor, i));
    diffc_release(&tensor);
    if (strcmp(text, expected))
        fprintf(stderr, "check_npy: %s is [%s], expected [%s]\n", path, text, expected);
    return strcmp(text, expected) != 0;
}

static int check_near(const char *first, const char *second, double tolerance)
{
    diffc_tensor *a = read_npy(first), *b = read_npy(second);
    const float *p = diffc_tensor_data(a), *q = diffc_tensor_data(b);
    double worst = diffc_tensor_count(a) == diffc_tensor_count(b) ? 0 : HUGE_VAL;
    for (int64_t i = 0; i < diffc_tensor_count(a) && worst < HUGE_VAL; i++)
        worst = fmax(worst, fabs((double)p[i] - q[i]));
    diffc_release(&a);
    diffc_release(&b);
    if (!(worst <= tolerance))
        fprintf(stderr, "check_npy: %s and %s differ by %g, more than %g\n", first, second, worst, tolerance);
    return !(worst <= tolerance);
}

/* Of [C, H, W]. */
static int check_outside(const char *first, const char *second, double tolerance)
{
    diffc_tensor *a = read_npy(first), *b = read_npy(second);
    const int64_t height = diffc_tensor_dim(a, 1), width = diffc_tensor_dim(a, 2);
    double worst = 0;
    for (int64_t i = 0; i < diffc_tensor_count(a); i++) {
        const int64_t y = i / width % height, x = i % width;
        const int inside = y >= height / 4 && y < height - height / 4 && x >= width / 4 &&
                           x < width - width / 4;
        if (!inside)
            worst = fmax(worst, fabs((double)((const float *)diffc_tensor_data(a))[i] -
                                     ((const float *)diffc_tensor_data(b))[i]));
    }
    diffc_release(&a);
    diffc_release(&b);
    if (!(worst <= tolerance))
        fprintf(stderr, "check_npy: %s and %s differ outside by %g\n", first, second, worst);
    return !(worst <= tolerance);
}

static int write_batch(const char *from, const char *to)
{
    diffc_tensor *a = read_npy(from), *batch = NULL;
    const int64_t shape[4] = { 1, diffc_tensor_dim(a, 0), diffc_tensor_dim(a, 1), diffc_tensor_dim(a, 2) };
    const int status = diffc_tensor_reshape(a, 4, shape, &batch);
    const int code = status || diffc_npy_write(batch, to);
    diffc_release(&batch);
    diffc_release(&a);
    return code;
}

static double alpha_bar(int t)
{
    diffc_schedule *schedule = NULL;
    if (diffc_schedule_create(context, "squaredcos_cap_v2", NULL, &schedule))
        exit(2);
    const double value = diffc_schedule_alpha_bars(schedule)[t];
    diffc_release(&schedule);
    return value;
}

static int check_one_step(char **argv)
{
    diffc_tensor *x = read_npy(argv[0]), *eps = read_npy(argv[1]), *x0 = read_npy(argv[3]);
    const double bar = alpha_bar(atoi(argv[2])), tolerance = atof(argv[4]);
    double worst = 0;
    for (int64_t i = 0; i < diffc_tensor_count(x); i++) {
        const double e = ((const float *)diffc_tensor_data(eps))[i];
        const double right = (((const float *)diffc_tensor_data(x))[i] - sqrt(1 - bar) * e) / sqrt(bar);
        worst = fmax(worst, fabs(right - ((const float *)diffc_tensor_data(x0))[i]));
    }
    diffc_release(&x);
    diffc_release(&eps);
    diffc_release(&x0);
    if (!(worst <= tolerance))
        fprintf(stderr, "check_npy: the estimate is off by %g\n", worst);
    return !(worst <= tolerance);
}

static int check_noisy(char **argv)
{
    diffc_tensor *x0 = read_npy(argv[0]), *x = read_npy(argv[2]);
    const double bar = alpha_bar(atoi(argv[1])), tolerance = atof(argv[3]);
    const int64_t count = diffc_tensor_count(x);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++) {
        const double clean = ((const float *)diffc_tensor_data(x0))[i];
        const double noise = (((const float *)diffc_tensor_data(x))[i] - sqrt(bar) * clean) / sqrt(1 - bar);
        sum += noise;
        squares += noise * noise;
    }
    diffc_release(&x0);
    diffc_release(&x);
    const double mean = sum / (double)count, variance = squares / (double)count - mean * mean;
    const int bad = !(fabs(mean) <= tolerance && fabs(variance - 1) <= tolerance);
    if (bad)
        fprintf(stderr, "check_npy: noise of mean %g and variance %g\n", mean, variance);
    return bad;
}

int main(int argc, char **argv)
{
    int code = 2;
    if (diffc_context_create(NULL, &context))
        return 2;
    if (argc == 4 && !strcmp(argv[1], "shape"))
        code = check_shape(argv[2], argv[3]);
    else if (argc == 5 && !strcmp(argv[1], "near"))
        code = check_near(argv[2], argv[3], atof(argv[4]));
    else if (argc == 5 && !strcmp(argv[1], "outside"))
        code = check_outside(argv[2], argv[3], atof(argv[4]));
    else if (argc == 4 && !strcmp(argv[1], "batch"))
        code = write_batch(argv[2], argv[3]);
    else if (argc == 7 && !strcmp(argv[1], "one_step"))
        code = check_one_step(argv + 2);
    else if (argc == 6 && !strcmp(argv[1], "noisy"))
        code = check_noisy(argv + 2);
    diffc_release(&context);
    return code;
}
