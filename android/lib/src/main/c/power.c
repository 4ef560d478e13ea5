/* Sensors, and the governor that acts on them (rbe/power.h, rbe/governor.h). */
#include <stdlib.h>
#include <string.h>

#include "bridge.h"
#include "rbe/governor.h"

/* root: what stands before /sys; empty: this machine's files. */
static jlong open_power(JNIEnv *env, jclass class, jbyteArray root)
{
    bridge_bytes name;
    rbe_power *power = NULL;
    (void)class;
    if (!bridge_take_name(env, root, "a path", &name)) {
        return 0;
    }
    const rbe_power_options options = {.struct_bytes = sizeof options, .root = name.data};
    rbe_status status = rbe_power_open(&options, &power);
    status = status == RBE_OK ? rbe_power_start(power, 0) : status; /* sensors of watts give energy from then on */
    free(name.data);
    if (status != RBE_OK) {
        bridge_throw_last(env, status);
        rbe_power_close(power);
        return 0;
    }
    return bridge_handle(power);
}

static void close_power(JNIEnv *env, jclass class, jlong power)
{
    (void)env;
    (void)class;
    rbe_power_close(bridge_pointer(power));
}

static void feed_power(JNIEnv *env, jclass class, jlong power, jint kind, jdouble value, jlong time_ns)
{
    (void)class;
    const rbe_status status = rbe_power_feed(bridge_pointer(power), (uint32_t)kind, value, (uint64_t)time_ns);
    if (status != RBE_OK) {
        bridge_throw_last(env, status);
    }
}

/* power: 0 for none. policy: a file, or NULL. override_mode: 0, or 1 + mode, before the policy's own. Goals: 0 for none. */
static jlong create_governor(JNIEnv *env, jclass class, jlong model, jlong power, jbyteArray policy, jint override_mode, jdouble watts,
                             jdouble celsius, jdouble tokens_per_s)
{
    const bridge_model *m = bridge_pointer(model);
    rbe_policy chosen = {.struct_bytes = sizeof chosen};
    rbe_governor *governor = NULL;
    bridge_bytes name;
    (void)class;
    if (!bridge_take_name(env, policy, "a path", &name)) {
        return 0;
    }
    rbe_status status = name.data ? rbe_policy_read(name.data, &chosen) : rbe_policy_defaults(&chosen);
    free(name.data);
    if (status == RBE_OK) {
        chosen.override_mode = override_mode ? (uint32_t)override_mode : chosen.override_mode;
        const rbe_governor_options options = {.struct_bytes = sizeof options,
                                              .power = bridge_pointer(power),
                                              .policy = &chosen,
                                              .watts = watts,
                                              .celsius = celsius,
                                              .tokens_per_s = tokens_per_s};
        status = rbe_governor_create(m->model, &options, &governor);
    }
    if (status != RBE_OK) {
        bridge_throw_last(env, status);
    }
    return bridge_handle(governor);
}

static void free_governor(JNIEnv *env, jclass class, jlong governor)
{
    (void)env;
    (void)class;
    rbe_governor_free(bridge_pointer(governor));
}

/* governor: 0 for none. */
static void govern_session(JNIEnv *env, jclass class, jlong session, jlong governor)
{
    (void)class;
    const rbe_status status = rbe_session_govern(bridge_pointer(session), bridge_pointer(governor));
    if (status != RBE_OK) {
        bridge_throw_last(env, status);
    }
}

static void override_governor(JNIEnv *env, jclass class, jlong governor, jint override_mode)
{
    (void)class;
    const rbe_status status = rbe_governor_override(bridge_pointer(governor), (uint32_t)override_mode);
    if (status != RBE_OK) {
        bridge_throw_last(env, status);
    }
}

/* The reason; in numbers, in this order: mode, switches, waited_s, joules, joule_seconds, tokens, threads, resolution_j. */
static jbyteArray governor_info(JNIEnv *env, jclass class, jlong governor, jdoubleArray numbers)
{
    rbe_governor_info info = {.struct_bytes = sizeof info};
    (void)class;
    const rbe_status status = rbe_governor_get_info(bridge_pointer(governor), &info);
    if (status != RBE_OK) {
        bridge_throw_last(env, status);
        return NULL;
    }
    const jdouble all[] = {info.mode,          info.n_switches,        info.waited_s,  info.joules,
                           info.joule_seconds, (jdouble)info.n_tokens, info.n_threads, info.resolution_j};
    (*env)->SetDoubleArrayRegion(env, numbers, 0, (jsize)(sizeof all / sizeof *all), all);
    return (*env)->ExceptionCheck(env) ? NULL : bridge_give(env, info.reason, strlen(info.reason));
}

const JNINativeMethod bridge_power_methods[] = {
    {"openPower", "([B)J", (void *)open_power},
    {"closePower", "(J)V", (void *)close_power},
    {"feedPower", "(JIDJ)V", (void *)feed_power},
    {"createGovernor", "(JJ[BIDDD)J", (void *)create_governor},
    {"freeGovernor", "(J)V", (void *)free_governor},
    {"governSession", "(JJ)V", (void *)govern_session},
    {"overrideGovernor", "(JI)V", (void *)override_governor},
    {"governorInfo", "(J[D)[B", (void *)governor_info},
};
const jint bridge_n_power_methods = sizeof bridge_power_methods / sizeof *bridge_power_methods;
