/* rbe.dll, as other programs see it: it exports what the headers declare, and nothing of the inside; a call through it works. */
#include "platform/windows/windows.h"

#include <string.h>

#include "check.h"
#include "rbe/rbe.h"

/* What a program gets that asks for a name; some of each header. */
static const char *const declared[] = {"rbe_model_open", "rbe_session_append", "rbe_generation_step", "rbe_last_error",
                                       "rbe_tokenize",   "rbe_chat_format",    "rbe_faults_report",   "rbe_version"};

static void check_exports(const uint8_t *module)
{
    const IMAGE_DOS_HEADER *dos = (const IMAGE_DOS_HEADER *)(const void *)module;
    const IMAGE_NT_HEADERS *head = (const IMAGE_NT_HEADERS *)(const void *)(module + dos->e_lfanew);
    const IMAGE_DATA_DIRECTORY *place = &head->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_EXPORT];
    CHECK(place->Size > 0, "no exports");
    const IMAGE_EXPORT_DIRECTORY *exports = (const IMAGE_EXPORT_DIRECTORY *)(const void *)(module + place->VirtualAddress);
    const DWORD *names = (const DWORD *)(const void *)(module + exports->AddressOfNames);
    CHECK(exports->NumberOfNames > 50 && exports->NumberOfNames == exports->NumberOfFunctions, "%lu names", exports->NumberOfNames);
    for (DWORD i = 0; i < exports->NumberOfNames; i++) {
        const char *name = (const char *)module + names[i];
        CHECK(strncmp(name, "rbe_", 4) == 0 && name[4] != '_', "%s is exported", name);
    }
}

int main(void)
{
    const HMODULE library = LoadLibraryW(L"rbe.dll"); /* beside this program */
    CHECK(library != NULL, "rbe.dll: Windows error %lu", GetLastError());
    if (library) {
        check_exports((const uint8_t *)(const void *)library);
        for (size_t i = 0; i < sizeof declared / sizeof *declared; i++) {
            CHECK(GetProcAddress(library, declared[i]) != NULL, "%s is missing", declared[i]);
        }
        const char *(*version)(void);
        const FARPROC found = GetProcAddress(library, "rbe_version");
        memcpy(&version, &found, sizeof version);
        CHECK(found && strcmp(version(), RBE_VERSION) == 0, "version");
        FreeLibrary(library);
    }
    return check_finish();
}
