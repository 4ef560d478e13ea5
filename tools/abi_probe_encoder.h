/* The part of abi_probe.c for rbe/encoder.h, encoder_decoder.h and experts.h; its macros print. */
#ifndef ABI_PROBE_ENCODER_H
#define ABI_PROBE_ENCODER_H

#include "rbe/encoder.h"
#include "rbe/encoder_decoder.h"
#include "rbe/experts.h"

static void encoder_declarations(void)
{
    CONSTANT(RBE_POOLING_NONE);
    CONSTANT(RBE_POOLING_CLS);
    CONSTANT(RBE_POOLING_MEAN);
    CONSTANT(RBE_POOLING_LAST);
    CONSTANT(RBE_POOLING_MAX);

    STRUCTURE(rbe_encoder_info);
    FIELD(rbe_encoder_info, struct_bytes);
    FIELD(rbe_encoder_info, is_encoder);
    FIELD(rbe_encoder_info, pooling);
    FIELD(rbe_encoder_info, n_pooled);
    FIELD(rbe_encoder_info, is_classes);
    FIELD(rbe_encoder_info, is_normalized);
    FIELD(rbe_encoder_info, n_segments);
    FIELD(rbe_encoder_info, has_word_head);
    FIELD(rbe_encoder_info, context_tokens);

    STRUCTURE(rbe_encoder_options);
    FIELD(rbe_encoder_options, struct_bytes);
    FIELD(rbe_encoder_options, n_threads);
    FIELD(rbe_encoder_options, pass_tokens);
    FIELD(rbe_encoder_options, n_planes);
    FIELD(rbe_encoder_options, planes);
    FIELD(rbe_encoder_options, profile);
    FIELD(rbe_encoder_options, pooling);

    STRUCTURE(rbe_encoder_text);
    FIELD(rbe_encoder_text, tokens);
    FIELD(rbe_encoder_text, segments);
    FIELD(rbe_encoder_text, n_tokens);

    CONSTANT(RBE_CAPTURE_EXPERT_INPUT);
    CONSTANT(RBE_CAPTURE_EXPERT_DOWN);

    STRUCTURE(rbe_encoder_decoder_info);
    FIELD(rbe_encoder_decoder_info, struct_bytes);
    FIELD(rbe_encoder_decoder_info, is_encoder_decoder);
    FIELD(rbe_encoder_decoder_info, encoder_layers);
    FIELD(rbe_encoder_decoder_info, start_token);
}

#endif
