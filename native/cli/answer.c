#include "answer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "output.h"
#include "platform/platform.h"
#include "rbe/sampling.h"

static const char *const finishes[] = {"interrupted", "end", "stop", "length", "context", "interrupted"};

static double seconds(void)
{
    return 1e-9 * (double)rbe__nanoseconds();
}

static rbe_status read_prompt(const answer_request *request, statistics *out)
{
    progress_line line = begin_progress(request->reading);
    size_t n_held;
    rbe_status status = rbe_session_resume(request->session, request->prompt, request->n_prompt, &n_held);
    if (status == RBE_OK) {
        out->n_prompt = request->n_prompt - n_held;
        do { /* a Ctrl-C of the moment in which the answer before ended stops the first try */
            status = rbe_session_append(request->session, request->prompt + n_held, out->n_prompt, on_progress, &line);
        } while (status == RBE_ERROR_CANCELLED && !was_interrupted());
    }
    end_progress(&line);
    return status;
}

static int remember_token(statistics *out, uint32_t token)
{
    if ((out->n_generated & (out->n_generated - 1)) == 0) { /* full at each power of two */
        uint32_t *grown = realloc(out->tokens, (out->n_generated ? 2u * out->n_generated : 1u) * sizeof *grown);
        if (!grown) {
            return fail(EXIT_FAILED, "out of memory; use a smaller model or context");
        }
        out->tokens = grown;
    }
    out->tokens[out->n_generated++] = token;
    return 0;
}

static int take_event(const answer_request *request, const rbe_generation_event *event, statistics *out)
{
    if (event->token != RBE_NO_TOKEN && event->finish != RBE_FINISH_END && remember_token(out, event->token)) {
        return EXIT_FAILED;
    }
    int code = event->text_bytes ? request->take(request->user, (span){event->text, event->text_bytes}) : 0;
    if (!code && event->rest_bytes) {
        code = request->take(request->user, (span){event->rest, event->rest_bytes});
    }
    return code;
}

/* Each token of the text; Ctrl-C ends it, and what was held back is given too. */
static int step_to_end(const answer_request *request, rbe_generation *generation, statistics *out)
{
    rbe_generation_event event = {.struct_bytes = sizeof event};
    int code = 0;
    while (code == 0 && event.finish == RBE_FINISH_NONE) {
        const double began = seconds();
        rbe_status status = was_interrupted() ? RBE_ERROR_CANCELLED : rbe_generation_step(generation, &event);
        const int stopped = status == RBE_ERROR_CANCELLED;
        if (stopped) {
            status = rbe_generation_end(generation, &event);
        }
        if (status != RBE_OK) {
            return fail_with(status);
        }
        const double now = seconds();
        out->generation_seconds += now - began; /* what the reader of the pieces takes is not ours */
        out->first_token = out->first_token > 0 ? out->first_token : now;
        out->finish = stopped ? RBE_FINISH_NONE : event.finish;
        code = take_event(request, &event, out);
        code = code ? code : stopped ? EXIT_STOPPED : 0;
    }
    return code;
}

/* 0, or an exit code behind a line. */
static int change_logits(const logit_changes *changes, rbe_sampler *sampler)
{
    rbe_status status = rbe_sampler_penalize(sampler, changes->presence, changes->frequency);
    if (status == RBE_OK) {
        status = rbe_sampler_bias(sampler, changes->tokens, changes->biases, changes->n_biases);
    }
    return status == RBE_OK ? 0 : status == RBE_ERROR_ARGUMENT ? fail(EXIT_USAGE, "%s", rbe_last_error()) : fail_with(status);
}

int give_answer(const answer_request *request, statistics *out)
{
    rbe_generation *generation = NULL;
    *out = (statistics){0};
    begin_interruptible(request->session);
    const double began = seconds();
    rbe_status status = read_prompt(request, out);
    if (status == RBE_OK) {
        status = rbe_generation_create(request->session, request->options, &generation);
    }
    out->prompt_seconds = seconds() - began;
    int code = status == RBE_OK ? change_logits(request->changes, rbe_generation_sampler(generation)) : fail_with(status);
    code = code ? code : step_to_end(request, generation, out);
    end_interruptible();
    rbe_generation_free(generation);
    return code;
}

double tokens_per_second(const statistics *of)
{
    return of->generation_seconds > 0 && of->n_generated > 1 ? (of->n_generated - 1) / of->generation_seconds : 0;
}

void note_statistics(const statistics *of)
{
    const double rate = of->prompt_seconds > 0 ? (double)of->n_prompt / of->prompt_seconds : 0;
    note("prompt %zu tokens in %.2f s (%.1f tokens/s), generated %" PRIu32 " tokens at %.1f tokens/s, ended by %s", of->n_prompt,
         of->prompt_seconds, rate, of->n_generated, tokens_per_second(of), finishes[of->finish]);
}

void json_statistics(const statistics *of)
{
    printf("\"prompt_tokens\": %zu, \"generated_tokens\": %" PRIu32 ", \"prompt_seconds\": %.6f, \"generation_seconds\": %.6f, "
           "\"tokens_per_second\": %.2f, \"finish\": \"%s\", \"drafted_tokens\": 0, \"accepted_tokens\": 0",
           of->n_prompt, of->n_generated, of->prompt_seconds, of->generation_seconds, tokens_per_second(of), finishes[of->finish]);
}
