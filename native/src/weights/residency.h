/* Runs a model whose file is larger than the memory it may take. The first part of the file stays in memory. The rest is read and given
 * back piece by piece (docs/engine.md, "Memory"). model/residency_plan.h chooses the sizes. Immutable once planned; any number of
 * threads may use it. */
#ifndef RBE_RESIDENCY_H
#define RBE_RESIDENCY_H

#include "platform/platform.h"
#include "weights/tensor.h"

typedef struct rbe__residency {
    const rbe__mapped_file *file;
    uint64_t limit;        /* bytes of the file in memory, at most, for one session at a time; 0: no limit, and nothing below counts */
    uint64_t pinned_bytes; /* of the beginning of the file, which stay */
    uint64_t experts_offset; /* from there to the end the file holds experts, which weights/expert_pages.h keeps; its size: none */
    uint64_t expert_bytes;   /* of these that may stay */
    uint64_t piece_bytes;  /* of one matrix between two releases */
} rbe__residency;

/* Bytes of the largest strip of a trellis tensor, or of RBE_DENSE_ROWS rows of another matrix; all of what is not read in pieces. */
uint64_t rbe__residency_item_bytes(const rbe__tensor *tensor);

/* 1 where all of a tensor is within what stays, or is of an expert, whose caller sees to its room. Matrices in bands are taken band by band, here and in all functions of this file. */
int rbe__residency_stays(const rbe__residency *residency, const rbe__tensor *tensor);

/* Of n_items strips of a trellis tensor, or blocks of RBE_DENSE_ROWS rows of another, how many are worked on together: at least 1. */
uint32_t rbe__residency_items(const rbe__residency *residency, const rbe__tensor *tensor, uint32_t n_items);

/* Gives back all pages behind those that stay but those of experts. Call it where little is about to be read again. residency may be NULL. */
void rbe__residency_release(const rbe__residency *residency);

/* The same of experts too: they come back from the file. */
void rbe__residency_release_all(const rbe__residency *residency);

/* Starts reading what follows `count` items of n_items of a tensor from `first` on, where those reach the end of a piece of the file:
 * files hold tensors in the order of a pass. */
void rbe__residency_expect(const rbe__residency *residency, const rbe__tensor *tensor, uint32_t first, uint32_t count, uint32_t n_items);

#endif
