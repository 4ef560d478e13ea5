#include "text/tokenizer/blob_sections.h"

rbe_status rbe__take_section(rbe__sections *from, const char *name, size_t count, size_t item_bytes, const uint8_t **out)
{
    if (count > from->left / item_bytes || (count * item_bytes + 3) / 4 * 4 > from->left) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: truncated in section %s (%zu bytes left)", name, from->left);
    }
    size_t bytes = (count * item_bytes + 3) / 4 * 4;
    *out = from->at;
    from->at += bytes;
    from->left -= bytes;
    return RBE_OK;
}

rbe_status rbe__check_range(const char *field, uint32_t value, uint32_t least, uint32_t most)
{
    if (value < least || value > most) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %s is %u, not within %u to %u", field, value, least, most);
    }
    return RBE_OK;
}

rbe_status rbe__check_rising(const char *field, const uint8_t *values, size_t count, uint32_t last, uint32_t step)
{
    uint32_t before = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t value = rbe__u32(values, i);
        if (value < before || value - before > step || (i == 0 && value != 0)) {
            return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %s %zu is %u after %u", field, i, value, before);
        }
        before = value;
    }
    if (before != last) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %s end at %u, not at %u", field, before, last);
    }
    return RBE_OK;
}
