/* Which experts stay in memory where the file may not (weights/residency.h): those that are used most. What a model has counts how often each
 * was used; an expert that is to be read and does not fit takes the place of those that were used least. Counts are halved now and then, so that
 * what was used long ago is forgotten. Any number of threads may use it. */
#ifndef RBE_EXPERT_PAGES_H
#define RBE_EXPERT_PAGES_H

#include "platform/platform.h"

typedef struct rbe__expert_pages rbe__expert_pages;

/* The bytes of the file that one expert takes. Those of a model ascend. */
typedef struct rbe__expert_area {
    uint64_t offset, bytes;
} rbe__expert_area;

/* Beside what the experts in memory take: what reading one may bring in around it, until the next one is used. */
#define RBE_BESIDE_EXPERT (2ull * RBE_MAPPED_GRAIN)

/* Takes over the areas [n], which free gives back, of a file that stays mapped. budget: bytes that may be in memory, at least those of the
 * largest expert. On failure the areas are the caller's. */
rbe_status rbe__expert_pages_create(const rbe__mapped_file *file, rbe__expert_area *areas, uint32_t n, uint64_t budget,
                                    rbe__expert_pages **out);
void rbe__expert_pages_free(rbe__expert_pages *pages); /* NULL is allowed */

/* An expert is about to be read for n_rows tokens: makes room for it. Those that must go are given back to the system. */
void rbe__expert_pages_use(rbe__expert_pages *pages, uint32_t expert, uint32_t n_rows);

/* 1 where it was used, and has not had to go since. */
int rbe__expert_pages_holds(rbe__expert_pages *pages, uint32_t expert);

/* It will be read soon: where it is not in memory, its bytes are announced to the system. */
void rbe__expert_pages_expect(rbe__expert_pages *pages, uint32_t expert);

#endif
