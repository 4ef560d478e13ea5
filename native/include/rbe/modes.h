/* modes.h: the table of power modes of a file (docs/format.md, "Modes"): what each mode reads of the weights, and what was measured of its
 * answers. It is the part `modes` (rbe/parts.h), made by measuring; a file without it has no table, and its modes save by other means.
 */
#ifndef RBE_MODES_H
#define RBE_MODES_H

#include "rbe/rbe.h"

#ifdef __cplusplus
extern "C" {
#endif

/* From the fastest and hungriest on. */
enum { RBE_MODE_PERFORMANCE = 0, RBE_MODE_BALANCED = 1, RBE_MODE_SAVER = 2, RBE_MODE_EMERGENCY = 3, RBE_MODES = 4 };

/* What answers were compared with for the divergence: the file's own with all planes and layers, or those of the model it was packed from. */
enum { RBE_MODE_AGAINST_ITSELF = 0, RBE_MODE_AGAINST_SOURCE = 1 };

typedef struct rbe_mode {
    size_t struct_bytes;
    uint32_t mode; /* RBE_MODE_* */
    uint32_t found; /* 0: nothing was found that reads less within the mode's bound, see reason; the rest says what runs instead */
    /* What is read: the fields of rbe_effort (rbe/effort.h), which can be given to it as they stand. */
    uint32_t embedding, lm_head; /* planes, 1 to 4, the first ones; 0: all */
    uint32_t n_layers; /* of the model */
    uint32_t against; /* RBE_MODE_AGAINST_* */
    const uint8_t *attention; /* [n_layers] planes of each layer's attention: 1 to 4; 0: all; RBE_SKIP: it is left out */
    const uint8_t *feed_forward; /* the same of the step behind it */
    uint64_t bytes_per_token; /* of weights that a token reads */
    uint64_t n_tokens; /* that were measured; 0: none, and the four numbers below are 0 */
    double perplexity;
    double kl; /* mean divergence per token, nats */
    double kl_error; /* standard error of that mean */
    double top1; /* share of tokens with the same most likely one, 0 to 1 */
    const char *reason; /* why nothing was found; "" where it was */
    const char *text; /* the name of the text that was measured on */
} rbe_mode;

/* Mode `mode` of the file's table. Pointers lead into the model; texts are zero-terminated, printable ASCII.
 * RBE_ERROR_UNSUPPORTED where the file has no table that this build knows, RBE_ERROR_ARGUMENT where there is no such mode. Any thread. */
RBE_API rbe_status rbe_model_mode(const rbe_model *model, uint32_t mode, rbe_mode *out);

#ifdef __cplusplus
}
#endif

#endif
