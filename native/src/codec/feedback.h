#ifndef RBE_CODEC_FEEDBACK_H
#define RBE_CODEC_FEEDBACK_H

#include "codec/plane.h"

/* Encodes all cells of a plane whose scales are set, strip by strip in ascending column groups, feeding back errors. feedback: U of
 * inverse(H) = U^T U, float[4 G][4 G], upper triangular with a positive diagonal; identity where columns do not exist. progress counts column
 * groups. The bytes do not depend on the number of threads. */
rbe_status rbe__plane_encode_feedback(rbe__plane_encoder *plane, const float *feedback, rbe__thread_pool *thread_pool,
                                      rbe_progress_callback progress, void *user);

#endif
