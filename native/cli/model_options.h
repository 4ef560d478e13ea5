/* Options that run, chat and bench share, and what they become. The names, defaults, ranges and words are those of the Python command. */
#ifndef RBE_PROGRAM_MODEL_OPTIONS_H
#define RBE_PROGRAM_MODEL_OPTIONS_H

#include "answer.h"
#include "options.h"
#include "rbe/rbe.h"

extern const char *const kv_names[]; /* in the order of rbe_kv_type */
extern const char *const needs_python; /* the reason of options that are refused */

/* Where a model is: a file, or a part of the program itself. */
typedef struct model_source {
    const char *path;
    uint64_t offset, bytes; /* 0: the whole file */
} model_source;

typedef struct model_options {
    const char *file, *model; /* FILE and -m */
    int64_t predict, context, threads, batch, sinks, planes, draft;
    uint32_t kv, speculate;
    uint64_t max_memory;
    int no_verify, verbose, json, force_memory;
    double temperature, top_p, min_p, repeat_penalty, presence_penalty, frequency_penalty;
    int64_t top_k, repeat_last;
    seed seed;
    texts stops, biases;
    logit_changes changes; /* what the penalties and biases become */
    const char *kernels;
} model_options;

/* The rows of a table that fill a model_options named `o`; o must be static or outlive the table. */
#define MODEL_OPTION_ROWS(o)                                                                                                      \
    {"-m", "--model", OPTION_TEXT, &(o).model, NULL}, {"-n", "--predict", OPTION_WHOLE, &(o).predict, NULL},                      \
        {"-c", "--ctx-size", OPTION_WHOLE, &(o).context, NULL}, {"-t", "--threads", OPTION_WHOLE, &(o).threads, NULL},            \
        {"-b", "--batch-size", OPTION_WHOLE, &(o).batch, NULL}, {NULL, "--kv", OPTION_CHOICE, &(o).kv, kv_names},                 \
        {NULL, "--sinks", OPTION_WHOLE, &(o).sinks, NULL}, {NULL, "--read-planes", OPTION_WHOLE, &(o).planes, NULL},              \
        {NULL, "--speculate", OPTION_CHOICE, &(o).speculate, speculate_names}, {NULL, "--draft", OPTION_WHOLE, &(o).draft, NULL}, \
        {NULL, "--max-memory", OPTION_SIZE, &(o).max_memory, NULL}, {NULL, "--no-verify", OPTION_FLAG, &(o).no_verify, NULL},     \
        {NULL, "--temp", OPTION_NUMBER, &(o).temperature, NULL}, {"-s", "--seed", OPTION_SEED, &(o).seed, NULL},                  \
        {NULL, "--top-k", OPTION_WHOLE, &(o).top_k, NULL}, {NULL, "--top-p", OPTION_NUMBER, &(o).top_p, NULL},                    \
        {NULL, "--min-p", OPTION_NUMBER, &(o).min_p, NULL}, {NULL, "--repeat-penalty", OPTION_NUMBER, &(o).repeat_penalty, NULL}, \
        {NULL, "--repeat-last-n", OPTION_WHOLE, &(o).repeat_last, NULL},                                                          \
        {NULL, "--presence-penalty", OPTION_NUMBER, &(o).presence_penalty, NULL},                                                 \
        {NULL, "--frequency-penalty", OPTION_NUMBER, &(o).frequency_penalty, NULL},                                               \
        {"-l", "--logit-bias", OPTION_TEXTS, &(o).biases, NULL}, {NULL, "--stop", OPTION_TEXTS, &(o).stops, NULL},                \
        {NULL, "--kernels", OPTION_TEXT, &(o).kernels, NULL}, {"-v", "--verbose", OPTION_FLAG, &(o).verbose, NULL},               \
        {NULL, "--force-memory", OPTION_FLAG, &(o).force_memory, NULL},                                                           \
    {                                                                                                                             \
        NULL, "--json", OPTION_FLAG, &(o).json, NULL                                                                              \
    }

extern const char *const speculate_names[];
extern const char model_options_help[]; /* of these rows */

/* Before the command line is read. */
model_options default_model_options(int64_t predict);

/* What the options become. Sets the default temperature and a seed where none was given. 0: good; else the exit code, behind a line. */
int check_model_options(model_options *o, double temperature, rbe_session_options *session, rbe_sampling_options *sampling);

/* The session's part of it, which `rbe bench` has too. */
int check_session_options(int64_t context, int64_t threads, int64_t batch, int64_t sinks, int64_t planes);

/* *source from FILE, -m, or what the program carries; carried may be NULL. 0, or the exit code behind a line, which names the command. */
int choose_model(const model_options *o, const model_source *carried, const char *command, model_source *source);

/* open_model as the options say. Before: a model that does not fit into memory is refused with the option that makes it fit. */
int open_fitting(const model_options *o, const model_source *source, const rbe_session_options *session, rbe_model **model);

/* Where -t was not given, the first answer finds how many threads are fastest. It is kept, unless the machine is busy with other work. */
void choose_threads(const model_options *o, const rbe_model *model, rbe_session *session);

/* 0, or the exit code behind a line. */
int open_model(const model_source *source, const char *kernels, int skip_checksums, uint64_t max_memory, rbe_model **model);

/* The same where there is no tokenizer. */
int require_tokenizer(const rbe_model *model, const char *path);

/* The same where the model answers to single texts. */
int require_conversation(const rbe_model *model, const char *path);

#endif
