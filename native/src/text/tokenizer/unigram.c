#include "text/tokenizer/unigram.h"

#include <stdlib.h>

#include "text/tokenizer/token_list.h"
#include "text/tokenizer/unicode.h"

#define NO_PLACE 0xFFFFFFFFu

/* The best way to a place of the piece. */
typedef struct rbe__node {
    double score;
    uint32_t from; /* where the last token of the way begins; NO_PLACE: no way leads here. Turned round at the end: where the token behind
                       this place ends */
    uint32_t token; /* RBE_NO_TOKEN: a character that is none */
} node;

static void offer(node *to, double score, uint32_t from, uint32_t token)
{
    if (to->from == NO_PLACE || score > to->score) {
        *to = (node){score, from, token};
    }
}

/* Lengthens the ways that end at `at` by what begins there. Returns the length of the character there. */
static size_t go_on(const rbe_tokenizer *t, node *nodes, const uint8_t *text, size_t at, size_t bytes)
{
    uint32_t character, token;
    const size_t length = rbe__utf8_next(text + at, bytes - at, &character);
    const double score = nodes[at].score;
    int single = 0; /* the character is a token */
    rbe__walk walk = rbe__walk_begin(t, &t->pieces[0]);
    while (at + walk.depth < bytes && rbe__walk_on(&walk, text[at + walk.depth], &token)) {
        if (token != RBE_NO_TOKEN) {
            offer(&nodes[at + walk.depth], score + rbe__score(t, token), (uint32_t)at, token);
            single |= walk.depth == length;
        }
    }
    if (!single) {
        offer(&nodes[at + length], score + t->unknown_score, (uint32_t)at, RBE_NO_TOKEN);
    }
    return length;
}

/* Puts the tokens of the way to the end; unknown characters that follow one another are one. */
static void put_way(rbe__encoder *e, node *nodes, const uint8_t *text, size_t bytes)
{
    uint32_t at = (uint32_t)bytes, behind = NO_PLACE;
    while (at != NO_PLACE) {
        const uint32_t before = nodes[at].from;
        nodes[at].from = behind;
        behind = at;
        at = before;
    }
    for (at = 0; nodes[at].from != NO_PLACE;) {
        uint32_t end = nodes[at].from;
        if (nodes[end].token != RBE_NO_TOKEN) {
            rbe__encoder_put(e, nodes[end].token);
        } else {
            while (nodes[end].from != NO_PLACE && nodes[nodes[end].from].token == RBE_NO_TOKEN) {
                end = nodes[end].from;
            }
            rbe__encoder_put_unknown(e, text + at, end - at);
        }
        at = end;
    }
}

rbe_status rbe__encode_unigram(rbe__encoder *e, const uint8_t *text, size_t bytes)
{
    if (bytes == 0) {
        return RBE_OK;
    }
    if (bytes + 1 > e->nodes_capacity) {
        const size_t capacity = bytes < 255 ? 256 : bytes + 1;
        free(e->nodes);
        e->nodes = capacity < SIZE_MAX / sizeof *e->nodes ? malloc(capacity * sizeof *e->nodes) : NULL;
        e->nodes_capacity = e->nodes != NULL ? capacity : 0;
        if (e->nodes == NULL) {
            return rbe_fail(RBE_ERROR_MEMORY, "no memory for a piece of %zu bytes", bytes);
        }
    }
    for (size_t i = 0; i <= bytes; i++) {
        e->nodes[i] = (node){0, NO_PLACE, RBE_NO_TOKEN};
    }
    for (size_t at = 0; at < bytes;) {
        at += go_on(e->tokenizer, e->nodes, text, at, bytes);
    }
    put_way(e, e->nodes, text, bytes);
    return RBE_OK;
}
