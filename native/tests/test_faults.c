/* A model's file that is cut short while it is open: without a handler, with that of rbe/faults.h, and beside other handlers. Each case is a
 * process of its own. */
#define _XOPEN_SOURCE 700 /* pseudo terminals */
#define _DEFAULT_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "check.h"
#include "golden_files.h"
#include "platform/mapped_ranges.h"
#include "platform/platform.h"
#include "rbe/faults.h"

/* The sanitizers have handlers of their own, which would hide what happens without one. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void)
{
    return "handle_sigbus=0:handle_segv=0:detect_leaks=0";
}

static char path[] = "/tmp/rbe-test-\nfaults-XXXXXX"; /* the handler is to write no line end of a name */
static const char shown[] = "/tmp/rbe-test-?faults-";

static void copy_file(const char *from)
{
    static char data[1 << 20];
    const int in = open(from, O_RDONLY), out = open(path, O_WRONLY | O_TRUNC);
    const ssize_t n = read(in, data, sizeof data);
    CHECK(n > 0 && n < (ssize_t)sizeof data && write(out, data, (size_t)n) == n, "%s", from);
    close(in);
    close(out);
}

/* How a process ended that ran `body`, and what it wrote to standard error. */
typedef struct ended {
    int code, number; /* of exit, else -1; of the signal, else 0 */
    char text[2048];
} ended;

static ended run(void (*body)(void))
{
    ended result = {.code = -1};
    int ends[2];
    CHECK(pipe(ends) == 0, "pipe");
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        alarm(60);
        body();
        _exit(42);
    }
    close(ends[1]);
    ssize_t n, used = 0;
    while ((n = read(ends[0], result.text + used, sizeof result.text - 1 - (size_t)used)) > 0) {
        used += n;
    }
    close(ends[0]);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child, "wait");
    result.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    result.number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    return result;
}

static rbe_session *opened(uint32_t n_threads)
{
    rbe_model *model = NULL;
    rbe_session *session = NULL;
    const rbe_session_options options = {.struct_bytes = sizeof options, .n_threads = n_threads};
    /* So that the thread of the checksums is over: who reads what is cut off is the test's own choice. */
    const int is_open = rbe_model_open(path, NULL, &model) == RBE_OK && rbe_model_verify(model, NULL, NULL) == RBE_OK;
    if (!is_open || rbe_session_create(model, &options, &session) != RBE_OK) {
        _exit(40);
    }
    return session;
}

static void read_cut(rbe_session *session)
{
    const uint32_t tokens[] = {1, 2, 3, 4};
    if (truncate(path, 0) != 0) {
        _exit(41);
    }
    (void)rbe_session_append(session, tokens, 4, NULL, NULL);
}

static void report(void)
{
    if (rbe_faults_report("one") != RBE_OK || rbe_faults_report("a program") != RBE_OK) { /* the second names alone */
        _exit(43);
    }
}

static void without(void)
{
    read_cut(opened(1));
}

static void with(void)
{
    report();
    read_cut(opened(1));
}

static void later(void)
{
    rbe_session *session = opened(3); /* whose threads began before the handler was there */
    report();
    read_cut(session);
}

static void *append_cut(void *session)
{
    read_cut(session);
    return NULL;
}

static void on_thread(void)
{
    pthread_t thread;
    report();
    pthread_create(&thread, NULL, append_cut, opened(2));
    pthread_join(thread, NULL);
}

/* A file that the library has not mapped. */
static void read_other(void)
{
    rbe_session *session = opened(1);
    const int descriptor = open(path, O_RDONLY);
    const volatile char *data = mmap(NULL, 100, PROT_READ, MAP_SHARED, descriptor, 0);
    if ((const void *)data == MAP_FAILED || truncate(path, 0) != 0 || !session) {
        _exit(41);
    }
    (void)data[0];
}

static void other_file(void)
{
    report();
    read_other();
}

static void their_action(int number, siginfo_t *info, void *context)
{
    (void)number;
    _exit(context && info->si_code > 0 ? 7 : 44);
}

static void their_handler(int number)
{
    _exit(number == SIGBUS ? 8 : 45);
}

static void before_ours(struct sigaction action)
{
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
    report();
}

static void passed_to_action(void)
{
    before_ours((struct sigaction){.sa_sigaction = their_action, .sa_flags = SA_SIGINFO});
    read_other();
}

static void passed_to_handler(void)
{
    before_ours((struct sigaction){.sa_handler = their_handler});
    read_other();
}

static void not_passed(void)
{
    before_ours((struct sigaction){.sa_handler = their_handler});
    read_cut(opened(1));
}

static void ignored_fault(void)
{
    before_ours((struct sigaction){.sa_handler = SIG_IGN});
    read_other();
}

static void ignored_when_sent(void)
{
    before_ours((struct sigaction){.sa_handler = SIG_IGN});
    raise(SIGBUS);
    raise(SIGBUS);
    _exit(9);
}

static void sent(void)
{
    report();
    (void)opened(1);
    raise(SIGBUS);
}

static void test_ends(const char *golden)
{
    static const struct {
        const char *what;
        void (*body)(void);
        int code, number, reports;
    } cases[] = {
        {"no handler unasked", without, -1, SIGBUS, 0},
        {"reported", with, 1, 0, 1},
        {"threads that began before", later, 1, 0, 1},
        {"another thread", on_thread, 1, 0, 1},
        {"another file", other_file, -1, SIGBUS, 0},
        {"passed to an action", passed_to_action, 7, 0, 0},
        {"passed to a handler", passed_to_handler, 8, 0, 0},
        {"a model's is not passed on", not_passed, 1, 0, 1},
        {"a fault cannot be ignored", ignored_fault, -1, SIGBUS, 0},
        {"a signal can", ignored_when_sent, 9, 0, 0},
        {"a signal that was sent", sent, -1, SIGBUS, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        copy_file(golden);
        const ended end = run(cases[i].body);
        CHECK(end.code == cases[i].code && end.number == cases[i].number, "%s: exit code %d, signal %d: %s", cases[i].what, end.code,
              end.number, end.text);
        const char *line_end = strchr(end.text, '\n');
        if (cases[i].reports) {
            CHECK(strncmp(end.text, "a program: ", 11) == 0 && strncmp(end.text + 11, shown, strlen(shown)) == 0 && line_end &&
                      !line_end[1],
                  "%s: %s", cases[i].what, end.text);
        } else {
            CHECK(end.text[0] == 0, "%s: %s", cases[i].what, end.text);
        }
    }
}

static int terminal, keyboard; /* the two ends */

static void full_screen(void)
{
    struct termios raw;
    if (rbe_faults_restore(terminal, "<left>", 6) != RBE_OK || tcgetattr(terminal, &raw) != 0) {
        _exit(46);
    }
    raw.c_lflag &= ~(tcflag_t)(ECHO | ICANON | ISIG);
    tcsetattr(terminal, TCSANOW, &raw);
    with();
}

static void left_again(void)
{
    if (rbe_faults_restore(terminal, "<left>", 6) != RBE_OK || rbe_faults_restore(-1, NULL, 0) != RBE_OK) {
        _exit(46);
    }
    with();
}

static void test_terminal(const char *golden)
{
    struct termios cooked, now;
    char text[64] = "";
    keyboard = posix_openpt(O_RDWR | O_NOCTTY);
    CHECK(keyboard >= 0 && grantpt(keyboard) == 0 && unlockpt(keyboard) == 0, "no pseudo terminal");
    terminal = open(ptsname(keyboard), O_RDWR | O_NOCTTY);
    CHECK(terminal >= 0 && tcgetattr(terminal, &cooked) == 0 && (cooked.c_lflag & ECHO), "cooked");
    copy_file(golden);
    ended end = run(full_screen);
    CHECK(end.code == 1 && strncmp(end.text, "a program: ", 11) == 0, "exit code %d: %s", end.code, end.text);
    CHECK(tcgetattr(terminal, &now) == 0 && now.c_lflag == cooked.c_lflag, "the settings");
    CHECK(read(keyboard, text, sizeof text - 1) == 6 && strcmp(text, "<left>") == 0, "%s", text);
    copy_file(golden);
    end = run(left_again);
    fcntl(keyboard, F_SETFL, O_NONBLOCK);
    CHECK(end.code == 1 && read(keyboard, text, sizeof text) < 0, "text after it was taken back");

    char much[256] = "";
    CHECK(rbe_faults_restore(terminal, much, sizeof much) == RBE_ERROR_ARGUMENT, "256 bytes");
    CHECK(rbe_faults_restore(terminal, NULL, 1) == RBE_ERROR_ARGUMENT, "no text");
    CHECK(rbe_faults_restore(open("/dev/null", O_RDWR), "", 0) == RBE_ERROR_ARGUMENT, "no terminal");
    memset(much, 'a', 64);
    CHECK(rbe_faults_report(NULL) == RBE_ERROR_ARGUMENT && rbe_faults_report("") == RBE_ERROR_ARGUMENT, "no name");
    CHECK(rbe_faults_report(much) == RBE_ERROR_ARGUMENT, "64 bytes");
}

static void test_ranges(void)
{
    enum { N = 50 };
    static char memory[N][8];
    char name[16], longest[2000];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++) {
            snprintf(name, sizeof name, "%d of %d", i, round);
            CHECK(rbe__mapped_ranges_add(memory[i], sizeof memory[i], name), "memory");
        }
        for (int i = 0; i < N; i++) {
            snprintf(name, sizeof name, "%d of %d", i, round);
            const char *first = rbe__mapped_ranges_path(memory[i]), *last = rbe__mapped_ranges_path(memory[i] + 7);
            CHECK(first && first == last && strcmp(first, name) == 0, "%s", name);
        }
        for (int i = round; i < N + round; i++) {
            rbe__mapped_ranges_remove(memory[i % N]);
            CHECK(!rbe__mapped_ranges_path(memory[i % N]), "%d", i);
        }
    }
    CHECK(!rbe__mapped_ranges_path(NULL) && !rbe__mapped_ranges_path(memory), "nothing is mapped");
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    CHECK(rbe__mapped_ranges_add(memory, 1, longest) && strlen(rbe__mapped_ranges_path(memory)) == 511, "a long path is cut off");
    rbe__mapped_ranges_remove(memory);
}

/* What the reader asks before it reads the header and after the last checksum. */
static void test_changed_while_opened(const char *golden)
{
    static const int changes[] = {0, 100, 1 << 20}; /* cut off, cut short, grown */
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        rbe__mapped_file file;
        copy_file(golden);
        CHECK(rbe__map_file(path, &file) == RBE_OK && rbe__mapped_file_check(path, &file) == RBE_OK, "%s", rbe_last_error());
        CHECK(truncate(path, changes[i]) == 0, "truncate");
        CHECK(rbe__mapped_file_check(path, &file) == RBE_ERROR_IO && strstr(rbe_last_error(), "changed while"), "%s", rbe_last_error());
        CHECK(rbe__mapped_file_settle(path, &file) == RBE_ERROR_IO && file.descriptor == -1 && file.data, "settled");
        rbe__unmap_file(&file);
        CHECK(!file.data && !rbe__mapped_ranges_path(file.data), "unmapped");
    }
    rbe_model *model = NULL;
    const int free_before = dup(0);
    close(free_before);
    copy_file(golden);
    CHECK(rbe_model_open(path, NULL, &model) == RBE_OK, "%s", rbe_last_error());
    const int free_now = dup(0);
    CHECK(free_now == free_before, "an open model keeps its file's descriptor");
    close(free_now);
    rbe_model_close(model);
}

int main(void)
{
    golden_files files = list_golden_files();
    const int descriptor = mkstemp(path);
    CHECK(files.n > 0 && descriptor >= 0, "no golden packs under %s", RBE_GOLDEN_DIR);
    close(descriptor);
    test_ranges();
    test_changed_while_opened(files.path[0]);
    test_ends(files.path[0]);
    test_terminal(files.path[0]);
    unlink(path);
    return check_finish();
}
