"""What the headers in native/include/rbe declare, for ctypes: constants and prototypes, with the structures.

Nothing here runs. `python tools/check_abi.py` compares it with the headers, so that the two cannot drift apart.
"""

from __future__ import annotations

import ctypes
from typing import Any

from rbe_edge._encoder_structures import *  # noqa: F403 - part of the binding
from rbe_edge._encoder_structures import encoder_prototypes
from rbe_edge._gradient_structures import *  # noqa: F403 - part of the binding
from rbe_edge._gradient_structures import gradient_prototypes
from rbe_edge._power_structures import *  # noqa: F403 - part of the binding
from rbe_edge._power_structures import (
    Effort,
    GovernorHandle,
    GovernorInfo,
    GovernorOptions,
    Mode,
    ModeLimits,
    PartInfo,
    Workers,
)
from rbe_edge._sensor_structures import *  # noqa: F403 - part of the binding
from rbe_edge._sensor_structures import (
    Energy,
    Policy,
    PolicyDecision,
    PolicyState,
    PowerHandle,
    PowerOptions,
    PowerSample,
)
from rbe_edge._structures import *  # noqa: F403 - part of the binding
from rbe_edge._structures import (
    BatchHandle,
    BatchOptions,
    CaptureCallback,
    ChatMessage,
    ChatOptions,
    Codebook,
    EncodeOptions,
    Fit,
    FitAdvice,
    FitOptions,
    GenerationEvent,
    GenerationHandle,
    GenerationOptions,
    Memory,
    Metadata,
    ModelHandle,
    ModelInfo,
    ModelMemory,
    ModelOptions,
    PassOptions,
    PlaneLayout,
    ProfileEntry,
    ProgressCallback,
    SamplerHandle,
    SamplingOptions,
    SessionHandle,
    SessionInfo,
    SessionOptions,
    TensorInfo,
    TextStreamHandle,
    ThreadsInfo,
    ThreadsKept,
    TokenizerHandle,
)

SKIP = 255

OK = 0
ERROR_ARGUMENT = 1
ERROR_MEMORY = 2
ERROR_IO = 3
ERROR_FORMAT = 4
ERROR_UNSUPPORTED = 5
ERROR_CONTEXT = 6
ERROR_CANCELLED = 7
ERROR_CAPACITY = 8

TOKENIZE_SPECIAL_PREFIX = 1
TOKENIZE_PARSE_SPECIAL = 2
TOKENIZE_MARKED = 4
NO_TOKEN = 0xFFFFFFFF
DRAW_TOKEN = 0xFFFFFFFE
FORMAT_VERSION = 3
PART_REQUIRED = 1

VALUE_U64 = 1
VALUE_F64 = 2
VALUE_STRING = 3
VALUE_U64_ARRAY = 4

KV_F16 = 0
KV_F32 = 1
KV_Q8 = 2
KV_Q8Q4 = 3
KV_AUTO = 4
CAPTURE_QKV = 0
CAPTURE_O = 1
CAPTURE_UP = 2
CAPTURE_DOWN = 3
CAPTURE_LM_HEAD = 4
CAPTURE_LAYER_GATE, CAPTURE_LAYER_OUTPUT = 8, 9

PLANES_ATTENTION = 0
PLANES_FEED_FORWARD = 1
PLANES_EMBEDDING = 2
PLANES_LM_HEAD = 3
PLANES_KINDS = 4

POOLING_NONE = 0
POOLING_CLS = 1
POOLING_MEAN = 2
POOLING_LAST = 3
POOLING_MAX = 4

FINISH_NONE = 0
FINISH_END = 1
FINISH_STOP = 2
FINISH_LENGTH = 3
FINISH_CONTEXT = 4
FINISH_CALLER = 5
CACHE_EMBEDDINGS = 1
CACHE_ATTENTION = 2
CACHE_FEED_FORWARD = 4
CACHE_NOTHING = 8

MODE_PERFORMANCE = 0
MODE_BALANCED = 1
MODE_SAVER = 2
MODE_EMERGENCY = 3
MODES = 4
MODE_AGAINST_ITSELF = 0
MODE_AGAINST_SOURCE = 1

UNLIMITED = 0xFFFFFFFFFFFFFFFF
THREADS_CHOSEN = 0
THREADS_TRYING = 1
THREADS_FOUND = 2
THREADS_KEPT = 3
UNKNOWN = 0
NO = 1
YES = 2
FEED_BATTERY_LEVEL = 0
FEED_CHARGING = 1
FEED_CURRENT_A = 2
FEED_VOLTAGE_V = 3
FEED_THERMAL_STATUS = 4
FEED_TEMPERATURE_C = 5
FEED_ENERGY_J = 6
FEED_KINDS = 7

# The above by their names in C, for tools/check_abi.py.
CONSTANTS: dict[str, int] = {f"RBE_{name}": value for name, value in dict(globals()).items() if name.isupper()}

_U32 = ctypes.c_uint32
_SIZE = ctypes.c_size_t
_INT = ctypes.c_int
_FLOATS = ctypes.POINTER(ctypes.c_float)
_TOKENS = ctypes.POINTER(_U32)
_SIZE_OUT = ctypes.POINTER(_SIZE)
_BYTES_OUT = ctypes.POINTER(ctypes.POINTER(ctypes.c_char))
_TOKENIZER = ctypes.POINTER(TokenizerHandle)
_STREAM = ctypes.POINTER(TextStreamHandle)
_MODEL = ctypes.POINTER(ModelHandle)
_GOVERNOR = ctypes.POINTER(GovernorHandle)
_SESSION = ctypes.POINTER(SessionHandle)
_BATCH = ctypes.POINTER(BatchHandle)
_SAMPLER = ctypes.POINTER(SamplerHandle)
_GENERATION = ctypes.POINTER(GenerationHandle)
_POWER = ctypes.POINTER(PowerHandle)
_OUT = ctypes.POINTER

# Every function of the headers: its result and its arguments. A result of _STATUS goes through check().
_STATUS = ctypes.c_int
PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    **encoder_prototypes,
    **gradient_prototypes,
    "rbe_status_text": (ctypes.c_char_p, [_STATUS]),
    "rbe_last_error": (ctypes.c_char_p, []),
    "rbe_version": (ctypes.c_char_p, []),
    "rbe_faults_report": (_STATUS, [ctypes.c_char_p]),
    "rbe_faults_restore": (_STATUS, [_INT, ctypes.c_char_p, _SIZE]),
    "rbe_kernel_set_name": (ctypes.c_char_p, [_U32]),
    "rbe_kernel_set_available": (_INT, [ctypes.c_char_p]),
    "rbe_tokenizer_open": (_STATUS, [ctypes.c_void_p, _SIZE, _OUT(_TOKENIZER)]),
    "rbe_tokenizer_close": (None, [_TOKENIZER]),
    "rbe_tokenizer_size": (_U32, [_TOKENIZER]),
    "rbe_tokenize": (_STATUS, [_TOKENIZER, ctypes.c_char_p, _SIZE, _U32, _TOKENS, _SIZE, _SIZE_OUT]),
    "rbe_token_bytes": (_STATUS, [_TOKENIZER, _U32, _INT, _BYTES_OUT, _SIZE_OUT]),
    "rbe_token_find": (_U32, [_TOKENIZER, ctypes.c_char_p, _SIZE]),
    "rbe_token_ends_text": (_INT, [_TOKENIZER, _U32]),
    "rbe_text_stream_create": (_STATUS, [_TOKENIZER, ctypes.POINTER(ctypes.c_char_p), _SIZE, _OUT(_STREAM)]),
    "rbe_text_stream_free": (None, [_STREAM]),
    "rbe_text_stream_push": (_STATUS, [_STREAM, _U32, _BYTES_OUT, _SIZE_OUT, ctypes.POINTER(_INT)]),
    "rbe_text_stream_finish": (_STATUS, [_STREAM, _BYTES_OUT, _SIZE_OUT]),
    "rbe_model_open": (_STATUS, [ctypes.c_char_p, ctypes.POINTER(ModelOptions), _OUT(_MODEL)]),
    "rbe_model_verify": (_STATUS, [_MODEL, ProgressCallback, ctypes.c_void_p]),
    "rbe_model_close": (None, [_MODEL]),
    "rbe_model_get_info": (_STATUS, [_MODEL, _OUT(ModelInfo)]),
    "rbe_model_get_memory": (_STATUS, [_MODEL, _OUT(ModelMemory)]),
    "rbe_model_trim_memory": (None, [_MODEL]),
    "rbe_model_tokenizer": (_TOKENIZER, [_MODEL]),
    "rbe_model_metadata": (_STATUS, [_MODEL, _U32, _OUT(Metadata)]),
    "rbe_model_tensor": (_STATUS, [_MODEL, _U32, _OUT(TensorInfo)]),
    "rbe_model_tensor_rows": (_STATUS, [_MODEL, _U32, _U32, _U32, _FLOATS]),
    "rbe_model_part_count": (_U32, [_MODEL]),
    "rbe_model_part_info": (_STATUS, [_MODEL, _U32, _OUT(PartInfo)]),
    "rbe_model_part": (_STATUS, [_MODEL, ctypes.c_char_p, _OUT(ctypes.c_void_p), _OUT(ctypes.c_uint64), _TOKENS]),
    "rbe_model_mode": (_STATUS, [_MODEL, _U32, _OUT(Mode)]),
    "rbe_session_create": (_STATUS, [_MODEL, ctypes.POINTER(SessionOptions), _OUT(_SESSION)]),
    "rbe_session_free": (None, [_SESSION]),
    "rbe_session_configure": (_STATUS, [_SESSION, ctypes.POINTER(PassOptions)]),
    "rbe_session_get_info": (_STATUS, [_SESSION, _OUT(SessionInfo)]),
    "rbe_session_get_profile": (_STATUS, [_SESSION, _OUT(ProfileEntry), _SIZE, _SIZE_OUT]),
    "rbe_session_append": (_STATUS, [_SESSION, _TOKENS, _SIZE, ProgressCallback, ctypes.c_void_p]),
    "rbe_session_tokens": (_TOKENS, [_SESSION, _SIZE_OUT]),
    "rbe_session_common": (_SIZE, [_SESSION, _TOKENS, _SIZE]),
    "rbe_session_resume": (_STATUS, [_SESSION, _TOKENS, _SIZE, _SIZE_OUT]),
    "rbe_session_logits": (_FLOATS, [_SESSION]),
    "rbe_session_score": (_STATUS, [_SESSION, _TOKENS, _SIZE, _FLOATS, _FLOATS, ProgressCallback, ctypes.c_void_p]),
    "rbe_session_rewind": (_STATUS, [_SESSION, _SIZE]),
    "rbe_batch_create": (_STATUS, [_MODEL, ctypes.POINTER(BatchOptions), _OUT(_BATCH)]),
    "rbe_batch_free": (None, [_BATCH]),
    "rbe_batch_decode": (_STATUS, [_BATCH, ctypes.POINTER(_SESSION), _TOKENS, _SIZE, ctypes.POINTER(_STATUS)]),
    "rbe_batch_cancel": (None, [_BATCH]),
    "rbe_session_embed": (_STATUS, [_SESSION, _TOKENS, _SIZE, _FLOATS]),
    "rbe_session_run_layers": (_STATUS, [_SESSION, _U32, _U32, _U32, _FLOATS, _SIZE, CaptureCallback, ctypes.c_void_p]),
    "rbe_session_save": (_STATUS, [_SESSION, ctypes.c_char_p]),
    "rbe_session_restore": (_STATUS, [_SESSION, ctypes.c_char_p]),
    "rbe_session_copy": (_STATUS, [_SESSION, _SESSION, _SIZE]),
    "rbe_session_cancel": (None, [_SESSION]),
    "rbe_session_uncancel": (None, [_SESSION]),
    "rbe_session_set_effort": (_STATUS, [_SESSION, ctypes.POINTER(Effort)]),
    "rbe_session_set_workers": (_STATUS, [_SESSION, ctypes.POINTER(Workers)]),
    "rbe_batch_set_workers": (_STATUS, [_BATCH, ctypes.POINTER(Workers)]),
    "rbe_governor_create": (_STATUS, [_MODEL, ctypes.POINTER(GovernorOptions), _OUT(_GOVERNOR)]),
    "rbe_governor_free": (None, [_GOVERNOR]),
    "rbe_governor_override": (_STATUS, [_GOVERNOR, _U32]),
    "rbe_governor_get_info": (_STATUS, [_GOVERNOR, ctypes.POINTER(GovernorInfo)]),
    "rbe_session_govern": (_STATUS, [_SESSION, _GOVERNOR]),
    "rbe_batch_govern": (_STATUS, [_BATCH, _GOVERNOR]),
    "rbe_mode_get_limits": (_STATUS, [_U32, ctypes.POINTER(ModeLimits)]),
    "rbe_mode_get_workers": (_STATUS, [_U32, _U32, ctypes.POINTER(Workers)]),
    "rbe_batch_follow_sessions": (_STATUS, [_BATCH, _U32]),
    "rbe_model_effort_bytes": (_STATUS, [_MODEL, ctypes.POINTER(Effort), ctypes.POINTER(ctypes.c_uint64)]),
    "rbe_chat_detect": (_STATUS, [ctypes.c_char_p, _SIZE, ctypes.POINTER(ctypes.c_char_p)]),
    "rbe_chat_format": (
        _STATUS,
        [
            ctypes.POINTER(ChatOptions),
            ctypes.POINTER(ChatMessage),
            _SIZE,
            ctypes.POINTER(ctypes.c_char),
            _SIZE,
            _SIZE_OUT,
        ],
    ),
    "rbe_chat_tokens": (
        _STATUS,
        [
            ctypes.POINTER(TokenizerHandle),
            ctypes.POINTER(ChatOptions),
            ctypes.POINTER(ChatMessage),
            _SIZE,
            _TOKENS,
            _SIZE,
            _SIZE_OUT,
        ],
    ),
    "rbe_sampler_create": (_STATUS, [_U32, ctypes.POINTER(SamplingOptions), _OUT(_SAMPLER)]),
    "rbe_sampler_free": (None, [_SAMPLER]),
    "rbe_sampler_draw": (_STATUS, [_SAMPLER, _FLOATS, _TOKENS]),
    "rbe_sampler_accept": (_STATUS, [_SAMPLER, _U32]),
    "rbe_sampler_penalize": (_STATUS, [_SAMPLER, ctypes.c_float, ctypes.c_float]),
    "rbe_sampler_bias": (_STATUS, [_SAMPLER, _TOKENS, _FLOATS, _SIZE]),
    "rbe_generation_sampler": (_SAMPLER, [_GENERATION]),
    "rbe_generation_create": (_STATUS, [_SESSION, ctypes.POINTER(GenerationOptions), _OUT(_GENERATION)]),
    "rbe_generation_free": (None, [_GENERATION]),
    "rbe_generation_step": (_STATUS, [_GENERATION, _OUT(GenerationEvent)]),
    "rbe_generation_next": (_STATUS, [_GENERATION, _FLOATS, _OUT(GenerationEvent)]),
    "rbe_generation_end": (_STATUS, [_GENERATION, _OUT(GenerationEvent)]),
    "rbe_batch_step": (
        _STATUS,
        [_BATCH, ctypes.POINTER(_GENERATION), _SIZE, _OUT(GenerationEvent), ctypes.POINTER(_STATUS)],
    ),
    "rbe_fit_file": (_STATUS, [ctypes.c_char_p, _OUT(FitOptions), _OUT(Fit)]),
    "rbe_memory_find": (_STATUS, [_OUT(Memory)]),
    "rbe_fit_advise": (_STATUS, [ctypes.c_char_p, _OUT(FitOptions), ctypes.c_uint64, _OUT(FitAdvice)]),
    "rbe_fit_flags": (None, [_OUT(FitAdvice), ctypes.c_char_p, _SIZE]),
    "rbe_fit_check": (_STATUS, [ctypes.c_char_p, _OUT(FitOptions)]),
    "rbe_fit_check_session": (_STATUS, [_MODEL, _OUT(SessionOptions)]),
    "rbe_session_try_threads": (_STATUS, [_SESSION, ctypes.c_char_p]),
    "rbe_session_get_threads": (_STATUS, [_SESSION, _OUT(ThreadsInfo)]),
    "rbe_model_kept_threads": (_U32, [_MODEL, ctypes.c_char_p]),
    "rbe_threads_read": (_STATUS, [ctypes.c_char_p, _U32, _OUT(ThreadsKept)]),
    "rbe_threads_machine": (_U32, []),
    "rbe_power_open": (_STATUS, [_OUT(PowerOptions), _OUT(_POWER)]),
    "rbe_power_close": (None, [_POWER]),
    "rbe_power_read": (_STATUS, [_POWER, _OUT(PowerSample)]),
    "rbe_power_feed": (_STATUS, [_POWER, _U32, ctypes.c_double, ctypes.c_uint64]),
    "rbe_power_start": (_STATUS, [_POWER, ctypes.c_double]),
    "rbe_power_mode_name": (ctypes.c_char_p, [_U32]),
    "rbe_energy_read": (_STATUS, [_POWER, _OUT(Energy)]),
    "rbe_energy_source": (_STATUS, [_POWER, _U32, _OUT(Energy)]),
    "rbe_policy_defaults": (_STATUS, [_OUT(Policy)]),
    "rbe_policy_read": (_STATUS, [ctypes.c_char_p, _OUT(Policy)]),
    "rbe_policy_decide": (
        _STATUS,
        [_OUT(Policy), _OUT(PowerSample), _OUT(PolicyState), _OUT(PolicyDecision)],
    ),
    "rbe_model_stream_width": (_U32, [_MODEL]),
    "rbe_plane_get_layout": (_STATUS, [_U32, _U32, _U32, _U32, _OUT(PlaneLayout)]),
    "rbe_encode_plane": (
        _STATUS,
        [
            _FLOATS,
            _U32,
            _U32,
            ctypes.POINTER(Codebook),
            _U32,
            ctypes.c_float,
            ctypes.POINTER(EncodeOptions),
            ctypes.POINTER(ctypes.c_uint16),
            ctypes.POINTER(ctypes.c_uint8),
            ctypes.POINTER(ctypes.c_double),
        ],
    ),
    "rbe_decode_plane": (
        _STATUS,
        [
            ctypes.POINTER(ctypes.c_uint8),
            _SIZE,
            ctypes.POINTER(ctypes.c_uint16),
            _U32,
            _U32,
            ctypes.POINTER(Codebook),
            _U32,
            ctypes.c_float,
            _FLOATS,
        ],
    ),
    "rbe_rotate_rows": (_STATUS, [_FLOATS, _U32, _U32, _U32, ctypes.c_uint64, _INT]),
    "rbe_moment_add": (_STATUS, [_FLOATS, _SIZE, _U32, _U32, _FLOATS]),
    "rbe_log_probabilities": (_STATUS, [_FLOATS, _U32, _U32, _FLOATS, _U32, ctypes.c_float, _U32, _FLOATS]),
    "rbe_divergence": (_STATUS, [_FLOATS, _FLOATS, _U32, _U32, _U32, ctypes.POINTER(ctypes.c_double)]),
    "rbe_inverse_factor": (_STATUS, [_FLOATS, _U32, _U32]),
}
