/* Keys and values of 8 and 4 bits. A block of RBE_KV_BLOCK positions of one head is a tile of multiply_tile (kernels.h): both products of
 * attention are then exact ones of integers, by the kernels that multiply weights. */
#ifndef RBE_KV_TILES_H
#define RBE_KV_TILES_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "layers/workspace.h"
#include "rbe/rbe.h"

#define RBE_KV_MAX_DIM_QUANTIZED 256u /* of a head: it has one scale */

#define RBE_KV_STEPS \
    (RBE_KV_BLOCK / 4u) /* of four rows, where positions are the rows; groups of four columns, where they are the columns */

/* A head's dimensions in a tile: those beyond head_dim hold anything, and meet activations that are zero or sums that nobody reads. */
static inline uint32_t rbe__kv_tile_dim(uint32_t head_dim)
{
    return (head_dim + 3) & ~3u;
}

/* Keys: rows are positions, columns dimensions. `position` is that in the block, 0 to RBE_KV_BLOCK - 1; key: int8[dim]. */
void rbe__key_to_tile(int8_t *tile, uint32_t position, uint32_t dim, const int8_t *key);
void rbe__key_from_tile(const int8_t *tile, uint32_t position, uint32_t dim, int8_t *key);

/* Values: rows are dimensions, columns positions. */
void rbe__value_to_tile(int8_t *tile, uint32_t position, uint32_t dim, const int8_t *value);
void rbe__value_from_tile(const int8_t *tile, uint32_t position, uint32_t dim, int8_t *value);

/* The same of 4-bit codes, 0 to 15 in every byte of codes: uint8[dim]. The first half of a block's positions stands in the low halves of a tile's
 * bytes, the second in the high ones (from_i4 of kernels.h). */
void rbe__codes_to_tile(uint8_t *tile, uint32_t position, uint32_t dim, const uint8_t *codes);
void rbe__codes_from_tile(const uint8_t *tile, uint32_t position, uint32_t dim, uint8_t *codes);

/* Shows a piece of memory; see rbe__kv_visit_used. */
typedef rbe_status rbe__kv_visit(void *context, void *piece, size_t bytes);

/* A visit that adds the bytes to a uint64_t, its context. It looks at no piece: where pieces would have to be made it gets NULL. */
rbe__kv_visit rbe__kv_count;

/* Shows the first n positions of a block as a saved state has them, and puts back what the visit changed: keys by dimension, [dim][n]; values
 * [n][dim]; codes [n][(dim + 1) / 2], the first half of a position's dimensions in the low halves of its bytes. */
rbe_status rbe__key_tile_visit(int8_t *tile, uint32_t dim, uint32_t n, rbe__kv_visit *visit, void *context);
rbe_status rbe__value_tile_visit(int8_t *tile, uint32_t dim, uint32_t n, rbe__kv_visit *visit, void *context);
rbe_status rbe__code_tile_visit(uint8_t *tile, uint32_t dim, uint32_t n, rbe__kv_visit *visit, void *context);

#endif
