#include "model/config_values.h"

#include <math.h>
#include <string.h>

#include "base/status.h"

const rbe_metadata *rbe__config_find(rbe__config_source from, const char *key)
{
    const rbe_metadata *entry = rbe__pack_metadata(from.pack, key);
    if (entry) {
        const uint32_t facts[2] = {entry->type, entry->count};
        const size_t value_bytes = entry->type == RBE_VALUE_STRING ? 1 : 8;
        *from.checksum = rbe__crc_update(from.crc, *from.checksum, entry->key, entry->key_bytes);
        *from.checksum = rbe__crc_update(from.crc, *from.checksum, facts, sizeof facts);
        *from.checksum = rbe__crc_update(from.crc, *from.checksum, entry->data, value_bytes * entry->count);
    }
    return entry;
}

rbe_status rbe__config_u64(rbe__config_source from, const char *key, uint64_t least, uint64_t most, int optional, uint32_t *out)
{
    const rbe_metadata *entry = rbe__config_find(from, key);
    *out = 0;
    if (!entry && optional) {
        return RBE_OK;
    }
    if (!entry || entry->type != RBE_VALUE_U64) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `%s` is missing or no whole number", from.path, key);
    }
    uint64_t value;
    memcpy(&value, entry->data, sizeof value);
    if (value < least || value > most) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `%s` is %llu; it must be %llu to %llu", from.path, key, (unsigned long long)value,
                        (unsigned long long)least, (unsigned long long)most);
    }
    *out = (uint32_t)value;
    return RBE_OK;
}

rbe_status rbe__config_f64(rbe__config_source from, const char *key, double least, double otherwise, float *out)
{
    const rbe_metadata *entry = rbe__config_find(from, key);
    *out = (float)otherwise;
    if (!entry) {
        return RBE_OK;
    }
    double value = NAN;
    if (entry->type == RBE_VALUE_F64) {
        memcpy(&value, entry->data, sizeof value);
    }
    if (!(value >= least && value <= 1e9)) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `%s` is no number from %g to 1e9", from.path, key, least);
    }
    *out = (float)value;
    return RBE_OK;
}

int rbe__config_word(const char *text, size_t bytes, const char *const *choices)
{
    for (int i = 0; choices[i]; i++) {
        if (bytes == strlen(choices[i]) && memcmp(text, choices[i], bytes) == 0) {
            return i;
        }
    }
    return -1;
}

rbe_status rbe__config_choice(rbe__config_source from, const char *key, const char *const *choices, int optional, int *out)
{
    const rbe_metadata *entry = rbe__config_find(from, key);
    *out = 0;
    if (!entry && optional) {
        return RBE_OK;
    }
    if (!entry || entry->type != RBE_VALUE_STRING) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `%s` is missing or no string", from.path, key);
    }
    const int found = rbe__config_word(entry->data, entry->count, choices);
    if (found < 0) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: metadata `%s` has a value this build does not know; a newer rbe_edge may read it",
                        from.path, key);
    }
    *out = found;
    return RBE_OK;
}
