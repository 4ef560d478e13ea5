/* Experts: feed-forward parts of which a router chooses a few for each token, and how it chooses (docs/format.md, "Mixtures of experts"). */
#ifndef RBE_ROUTING_H
#define RBE_ROUTING_H

#include "weights/projection.h"

#define RBE_LEAST_SCORES 1e-20f /* the least divisor of scores: those that the bias alone has chosen may all be next to nothing */

/* What the router's logits become: shares of all experts that sum to 1, or a number from 0 to 1 of each by itself. */
typedef enum rbe__expert_score { RBE_SCORE_SOFTMAX, RBE_SCORE_SIGMOID } rbe__expert_score;

/* down(activation(gate x) up x) */
typedef struct rbe__expert {
    rbe__projection gate, up, down; /* gate.weight NULL where they are not gated */
} rbe__expert;

/* Of a layer. n 0: it has no experts. */
typedef struct rbe__experts_shape {
    uint32_t n, n_used; /* experts, and how many of them a token uses: 1 to n */
    uint32_t width; /* of an expert, between its matrices */
    rbe__activation activation;
    int gated;
    rbe__expert_score score;
    int normalizes; /* 1: the scores of the chosen are divided by their sum */
    float scale; /* then multiplies them */
    uint32_t shared_width; /* of a feed-forward part beside them that every token goes through; 0: there is none */
    int shared_has_share; /* 1: a number of each token says how much it counts */
    rbe__expert *experts; /* [n], the model's, which are filled when the block is bound */
    uint32_t first_expert; /* the number of the first of them in the model */
} rbe__experts_shape;

/* Chooses the n_used experts of one token with the largest score + bias, of equal ones that with the lower number. scores [n]: the router's
 * logits, which become scores. bias [n]: counts for the choice alone; NULL: none. keys [n]: scratch. chosen, weights [n_used]: in ascending
 * order of the experts. 0 where a logit or a bias is not finite; nothing is then chosen. */
int rbe__route(const rbe_kernels *kernels, const rbe__experts_shape *shape, const float *bias, float *scores, float *keys, uint32_t *chosen,
               float *weights);

#endif
