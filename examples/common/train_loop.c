#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "progress.h"
#include "ranks.h"
#include "train_log.h"
#include "train_loop.h"

#define CHECKPOINT_SECONDS 180.0
#define CHECKPOINTS_KEPT 2

/* The ranks but 0 have nothing to write. */
static int writes(void)
{
    return ex_ranks()->rank == 0;
}

static int holds_checkpoint(const char *out)
{
    char path[EX_PATH];
    DIR *folder = opendir(ex_path(path, out, "checkpoints"));
    const struct dirent *entry;
    int found = 0;
    while (folder && !found && (entry = readdir(folder)))
        found = !strncmp(entry->d_name, "ckpt-", 5) && strstr(entry->d_name, ".safetensors");
    if (folder)
        closedir(folder);
    return found;
}

/* Refuses a folder that holds another run, or makes it, and takes it. */
static int prepare(const char *out, int resume, struct ex_log *log)
{
    int any = holds_checkpoint(out);
    if (!resume && any)
        return ex_error(EX_FAILED, out,
                        "holds a run already: --resume goes on with it, another --out starts afresh");
    int code = resume ? 0 : ex_make_folder(out);
    if (!code)
        code = ex_log_open(log, out, any || !resume);
    if (!code && !any && resume)
        code = ex_error(EX_FAILED, "--resume", "no checkpoint in %s/checkpoints", out);
    return code;
}

static int save_checkpoint(const struct ex_training *run, struct ex_log *log)
{
    char path[EX_PATH];
    /* The log first: a checkpoint never knows of steps that loss.csv lacks. */
    int code = ex_log_flush(log);
    if (code)
        return code;
    int status = diffc_trainer_save(run->trainer, ex_path(path, run->out, "checkpoints"), CHECKPOINTS_KEPT);
    return status ? ex_failed(path, status) : 0;
}

static int draw_losses(const struct ex_training *run, const struct ex_log *log, double *last100,
                       double *epoch_mean, int epoch_steps)
{
    char path[EX_PATH];
    struct ex_losses losses;
    int code = ex_losses_read(log->path, &losses);
    if (code)
        return code;
    *last100 = ex_losses_last(&losses, 100);
    *epoch_mean = ex_losses_last(&losses, epoch_steps);
    code = ex_losses_chart(&losses, run->title, run->loss_name, ex_path(path, run->out, "loss.png"));
    ex_losses_free(&losses);
    return code;
}

static int is_shown(const struct ex_training *run, int epoch)
{
    for (int i = 0; i < run->show.count; i++)
        if (run->show.value[i] == epoch)
            return 1;
    return epoch == run->options->epochs;
}

/* One entry per shown epoch; one that a resumed run makes again replaces the old one. */
static void keep_entry(json_t *metrics, int epoch, json_t *entry)
{
    json_t *list = json_object_get(metrics, "after_epochs");
    if (!json_is_array(list)) {
        list = json_array();
        json_object_set_new(metrics, "after_epochs", list);
    }
    for (size_t i = json_array_size(list); i-- > 0;)
        if (json_integer_value(json_object_get(json_array_get(list, i), "epoch")) >= epoch)
            json_array_remove(list, i);
    json_array_append_new(list, entry);
}

static int evaluate(const struct ex_training *run, json_t *entry)
{
    for (int ema = 0; ema <= (run->ema > 0); ema++) {
        double loss, accuracy = -1;
        ex_cancel_on_signal(run->context);
        int status = diffc_trainer_evaluate(run->trainer, run->test, run->options->seed, ema, &loss,
                                            &accuracy);
        ex_cancel_on_signal(NULL);
        if (status)
            return ex_failed("test loss", status);
        json_object_set_new(entry, ema ? "test_loss_ema" : "test_loss", json_real(loss));
        if (accuracy >= 0)
            json_object_set_new(entry, ema ? "test_accuracy_ema" : "test_accuracy", json_real(accuracy));
    }
    return 0;
}

static int make_picture(const struct ex_training *run, int epoch)
{
    if (!run->picture)
        return 0;
    if (run->ema <= 0)
        return run->picture(run->opaque, run->model, epoch);
    diffc_model *model = NULL;
    int status = diffc_trainer_ema_model(run->trainer, &model);
    if (status)
        return ex_failed("EMA weights", status);
    int code = run->picture(run->opaque, model, epoch);
    diffc_release(&model);
    return code;
}

static void print_entry(const struct ex_training *run, int epoch, double mean, const json_t *entry)
{
    if (run->options->quiet)
        return;
    double accuracy = json_real_value(json_object_get(entry, "test_accuracy"));
    fprintf(stderr, "epoch %d  train loss %.5f  test loss %.5f", epoch, mean,
            json_real_value(json_object_get(entry, "test_loss")));
    if (accuracy > 0)
        fprintf(stderr, "  test accuracy %.2f %%", 100 * accuracy);
    fputc('\n', stderr);
}

/* What is made after an epoch that is shown: loss curve, test loss, picture, metrics.json. */
static int show_epoch(const struct ex_training *run, struct ex_log *log, int epoch, int epoch_steps)
{
    double last100 = 0, mean = 0;
    int code = ex_log_flush(log);
    if (!code && writes())
        code = draw_losses(run, log, &last100, &mean, epoch_steps);
    json_t *entry = json_pack("{s:i,s:f,s:f}", "epoch", epoch, "train_loss_epoch", mean, "train_loss_last100",
                              last100);
    if (!code && !entry)
        code = ex_error(EX_FAILED, "metrics", "no memory");
    if (!code)
        code = evaluate(run, entry);
    if (!code) {
        print_entry(run, epoch, mean, entry);
        keep_entry(run->metrics, epoch, json_incref(entry));
        code = make_picture(run, epoch);
    }
    if (!code)
        code = ex_metrics_save(run->metrics, run->out);
    json_decref(entry);
    return code;
}

/* Several ranks must agree on the step after which they stop: the signal cancels the step of all. */
static int make_step(const struct ex_training *run, diffc_train_report *report)
{
    int several = ex_ranks()->size > 1;
    if (several)
        ex_cancel_on_signal(run->context);
    int status = diffc_trainer_step(run->trainer, report);
    if (several)
        ex_cancel_on_signal(NULL);
    return status;
}

static int run_steps(struct ex_training *run, struct ex_log *log, diffc_train_report *report, double *spent)
{
    int64_t first = report->step, epoch_steps = report->steps / run->options->epochs;
    double images = (double)diffc_dataset_count(run->train) / (double)epoch_steps, saved = ex_seconds();
    struct ex_progress bar = { .label = run->name,
                               .unit = "images/s",
                               .per_step = images,
                               .total = report->steps,
                               .quiet = run->options->quiet };
    int code = 0;
    /* A run that was stopped between a checkpoint and its pictures makes them now. */
    if (first > 0 && first % epoch_steps == 0 && is_shown(run, report->epoch))
        code = show_epoch(run, log, report->epoch, (int)epoch_steps);
    ex_progress_start(&bar, first);
    while (!code && report->step < report->steps) {
        if (ex_stopped() && ex_ranks()->size == 1) {
            code = save_checkpoint(run, log);
            return code ? code : ex_stopped();
        }
        int epoch = report->epoch;
        double begin = ex_seconds();
        int status = make_step(run, report);
        if (status == DIFFC_ERR_CANCELLED) { /* of several ranks: no step is under way on any of them */
            code = save_checkpoint(run, log);
            return code ? code : ex_stopped() ? ex_stopped() : 128 + SIGTERM;
        }
        if (status)
            return ex_failed("training", status);
        double now = ex_seconds();
        *spent += now - begin;
        code = ex_log_add(log, report, now - begin);
        char text[96];
        snprintf(text, sizeof text, "epoch %d/%d  loss %.4f", epoch + 1, run->options->epochs, report->loss);
        ex_progress_show(&bar, report->step, text);
        if (!code && (report->epoch > epoch || now - saved > CHECKPOINT_SECONDS)) {
            code = save_checkpoint(run, log);
            saved = ex_seconds();
        }
        if (!code && report->epoch > epoch && is_shown(run, report->epoch)) {
            ex_progress_end(&bar);
            code = show_epoch(run, log, report->epoch, (int)epoch_steps);
        }
        ex_progress_skip(&bar, ex_seconds() - now);
    }
    return code;
}

/* What the weight file says about its run beside what the library records. */
static int describe_run(diffc_model *model, const struct ex_training *run, double ema, const json_t *last)
{
    const struct ex_options *o = run->options;
    const char *loss_name = ema > 0 ? "test_loss_ema" : "test_loss";
    char text[6][160];
    const char *keys[6] = { "test_loss", "train_loss_last100", "epochs", "seed", "run", "ema" };
    snprintf(text[0], sizeof text[0], "%.6f", json_real_value(json_object_get(last, loss_name)));
    snprintf(text[1], sizeof text[1], "%.6f", json_real_value(json_object_get(last, "train_loss_last100")));
    snprintf(text[2], sizeof text[2], "%d", o->epochs);
    snprintf(text[3], sizeof text[3], "%llu", (unsigned long long)o->seed);
    snprintf(text[4], sizeof text[4], "%s, seed %llu, %d epochs, batch %d, lr %g, %lld images, %s", run->name,
             (unsigned long long)o->seed, o->epochs, o->batch, o->learning_rate,
             (long long)diffc_dataset_count(run->train), o->precision);
    snprintf(text[5], sizeof text[5], "%g", ema);
    int status = 0;
    for (int i = 0; i < 6 && !status; i++)
        status = diffc_model_set_metadata(model, keys[i], text[i]);
    return status;
}

static int save_weights(diffc_model *model, const struct ex_training *run, const char *file, double ema,
                        const json_t *last)
{
    char path[EX_PATH];
    int status = describe_run(model, run, ema, last);
    if (!status)
        status = diffc_model_save(model, ex_path(path, run->out, file), DIFFC_F16);
    return status ? ex_failed(file, status) : 0;
}

static int save_all_weights(const struct ex_training *run, const json_t *last)
{
    int code = save_weights(run->model, run, "weights.safetensors", 0, last);
    if (code || run->ema <= 0)
        return code;
    diffc_model *model = NULL;
    int status = diffc_trainer_ema_model(run->trainer, &model);
    if (status)
        return ex_failed("EMA weights", status);
    code = save_weights(model, run, "weights-ema.safetensors", run->ema, last);
    diffc_release(&model);
    return code;
}

static int finish(const struct ex_training *run, double images_per_second)
{
    const struct ex_options *o = run->options;
    if (!writes())
        return 0;
    const json_t *list = json_object_get(run->metrics, "after_epochs");
    const json_t *last = json_array_get(list, json_array_size(list) - 1);
    int code = save_all_weights(run, last);
    if (code)
        return code;
    const char *names[] = { "train_loss_last100", "test_loss", "test_loss_ema" };
    ex_metric_text(run->metrics, "run", run->name);
    ex_metric_text(run->metrics, "kernel_set", diffc_context_kernel_set(run->context));
    ex_metric_text(run->metrics, "numerics", o->numerics ? o->numerics : "default");
    ex_metric_text(run->metrics, "precision", o->precision);
    ex_metric_integer(run->metrics, "threads", diffc_context_threads(run->context));
    if (ex_ranks()->size > 1)
        ex_metric_integer(run->metrics, "ranks", ex_ranks()->size);
    ex_metric_integer(run->metrics, "parameters", diffc_model_parameter_count(run->model));
    ex_metric_integer(run->metrics, "epochs", o->epochs);
    ex_metric_integer(run->metrics, "batch", o->batch);
    ex_metric(run->metrics, "learning_rate", o->learning_rate);
    ex_metric_integer(run->metrics, "seed", (int64_t)o->seed);
    ex_metric_integer(run->metrics, "train_images", diffc_dataset_count(run->train));
    ex_metric_integer(run->metrics, "test_images", diffc_dataset_count(run->test));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (json_object_get(last, names[i]))
            ex_metric(run->metrics, names[i], json_real_value(json_object_get(last, names[i])));
    if (json_object_get(last, "test_accuracy"))
        ex_metric(run->metrics, "classifier_test_accuracy",
                  json_real_value(json_object_get(last, "test_accuracy")));
    if (images_per_second > 0)
        ex_metric(run->metrics, "images_per_second", images_per_second);
    return ex_metrics_save(run->metrics, run->out);
}

static int train(struct ex_training *run, struct ex_log *log)
{
    char path[EX_PATH];
    diffc_train_report report = DIFFC_TRAIN_REPORT;
    double spent = 0;
    int status = 0;
    if (run->options->resume)
        status = diffc_trainer_resume(run->trainer, ex_path(path, run->out, "checkpoints"));
    if (status)
        return ex_failed("--resume", status);
    status = diffc_trainer_report(run->trainer, &report);
    if (status)
        return ex_failed("training", status);
    int64_t first = report.step;
    int code = ex_log_begin(log, first);
    if (!code)
        code = run_steps(run, log, &report, &spent);
    if (code && code == ex_stopped())
        fprintf(stderr, "%s: stopped after step %lld, --resume goes on from there\n", run->name,
                (long long)report.step);
    if (code)
        return code;
    double epoch_steps = (double)report.steps / run->options->epochs;
    double images = (double)(report.step - first) * (double)diffc_dataset_count(run->train) / epoch_steps;
    return finish(run, spent > 0 ? images / spent : 0);
}

int ex_train(struct ex_training *run)
{
    if (run->options->weights)
        return ex_error(EX_USAGE, "--weights",
                        "training begins with fresh weights (--resume goes on with a run)");
    struct ex_log log = { 0 };
    int code = ex_ranks_agree(writes() ? prepare(run->out, run->options->resume, &log) : 0);
    if (!code) {
        run->metrics = ex_metrics_open(run->out, run->options->resume);
        code = train(run, &log);
        json_decref(run->metrics);
    }
    ex_log_close(&log);
    return code;
}
