/* What follows a prompt, for `rbe run` and `rbe chat`: the prompt's pass, then one token after the other. */
#ifndef RBE_PROGRAM_ANSWER_H
#define RBE_PROGRAM_ANSWER_H

#include "options.h"
#include "rbe/rbe.h"
#include "text.h"

/* n_prompt: tokens that were computed, not those that the context already held. */
typedef struct statistics {
    size_t n_prompt;
    uint32_t n_generated;
    uint32_t *tokens; /* [n_generated], from malloc */
    double prompt_seconds, generation_seconds;
    double first_token; /* as rbe__nanoseconds, in seconds: when it was drawn */
    uint32_t finish;    /* rbe_finish; NONE where Ctrl-C ended it */
} statistics;

/* What changes the logits of an answer (rbe/sampling.h). */
typedef struct logit_changes {
    float presence, frequency;
    uint32_t tokens[MAX_TEXTS];
    float biases[MAX_TEXTS];
    size_t n_biases;
} logit_changes;

/* Takes a piece of text, which is never empty, and is valid UTF-8. 0, or an exit code, behind a line, that ends the answer. */
typedef int take_piece(void *user, span piece);

typedef struct answer_request {
    rbe_session *session;
    const uint32_t *prompt; /* all of it; what the context begins with is not computed again */
    size_t n_prompt;
    const rbe_generation_options *options;
    const logit_changes *changes;
    const char *reading; /* what the prompt's pass is called on a terminal */
    take_piece *take;
    void *user;
} answer_request;

/* 0, EXIT_STOPPED after Ctrl-C, or an exit code behind a line. The statistics, whose tokens the caller frees, count in any case. */
int give_answer(const answer_request *request, statistics *out);

/* Generated tokens per second; the first one comes with the prompt and is not counted. */
double tokens_per_second(const statistics *of);

/* The line of -v. */
void note_statistics(const statistics *of);

/* The members of a JSON object, without its braces. */
void json_statistics(const statistics *of);

#endif
