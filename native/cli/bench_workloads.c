/* Names of workloads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "output.h"

#define MOST_TOKENS (1u << 20)

/* "512" before `end`: 0 where that is no such number. */
static int read_count(const char **at, uint32_t least, uint32_t *out)
{
    char *end;
    if (**at < '0' || **at > '9' || strspn(*at, "0123456789") > 7) {
        return 0;
    }
    *out = (uint32_t)strtoul(*at, &end, 10);
    *at = end;
    return *out >= least && *out <= MOST_TOKENS;
}

int read_workload(span part, workload *out)
{
    char text[24];
    *out = (workload){0};
    part = strip(part);
    if (part.bytes < sizeof text) {
        memcpy(text, part.text, part.bytes);
        text[part.bytes] = 0;
        const char *at = text + 2;
        out->is_prompt = strncmp(text, "pp", 2) == 0;
        int good = (out->is_prompt || strncmp(text, "tg", 2) == 0) && read_count(&at, 1, &out->n_tokens);
        if (good && *at == '@') {
            at++;
            good = read_count(&at, 0, &out->depth);
        }
        if (good && *at == 0) {
            snprintf(out->name, sizeof out->name, out->depth ? "%s%u@%u" : "%s%u", out->is_prompt ? "pp" : "tg", out->n_tokens, out->depth);
            return 0;
        }
    }
    return fail(EXIT_USAGE, "'%.*s' is no workload; give such as pp512, tg64 or tg64@1024 (at depth 1024)", (int)part.bytes, part.text);
}
