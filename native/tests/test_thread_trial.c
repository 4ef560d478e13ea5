/* Numbers of threads that are tried: decisions from made-up times, files of results, and a session that tries without changing a bit. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw */
#endif
#include <unistd.h>

#include "golden_files.h"
#include "parallel/cores.h"
#include "session/thread_results.h"
#include "session/thread_trial.h"
#include "stand_in_files.h"

/* Milliseconds of a step with 1, 2, ... threads; 0 behind the last. */
typedef double speed_table[65];

static uint64_t noisy(double milliseconds, uint32_t *random, double noise, uint32_t stall_every)
{
    *random = *random * 1664525u + 1013904223u;
    const double part = (double)(*random >> 8) / (double)(1u << 24);
    const double stalled = stall_every && (*random >> 16) % stall_every == 0 ? 5.0 : 1.0;
    return (uint64_t)(milliseconds * 1e6 * (1 + noise * (part - 0.5)) * stalled);
}

/* Runs until it has settled; *n_steps: how many that took. */
static uint32_t result_of(const speed_table table, uint32_t fast, uint32_t usable, double noise, uint32_t stall_every, uint32_t *n_steps)
{
    rbe__thread_trial trial;
    uint32_t random = 12345;
    rbe__thread_trial_begin(&trial, fast, usable);
    uint32_t n_threads = trial.candidates[0];
    CHECK(n_threads == fast, "begins with %u", n_threads);
    for (*n_steps = 0; !trial.settled && *n_steps < 100; ++*n_steps) {
        n_threads = rbe__thread_trial_step(&trial, noisy(table[n_threads], &random, noise, stall_every));
    }
    CHECK(*n_steps <= RBE_TRIAL_STEPS, "%u steps", *n_steps);
    CHECK(rbe__thread_trial_step(&trial, 1) == n_threads && rbe__thread_trial_rate(&trial, 0) > 0, "settled");
    return n_threads;
}

static void check_result(const char *machine, const speed_table table, uint32_t fast, uint32_t usable, uint32_t expected,
                         uint32_t most_steps)
{
    uint32_t n_steps;
    uint32_t found = result_of(table, fast, usable, 0, 0, &n_steps);
    CHECK(found == expected && n_steps <= most_steps, "%s: %u threads after %u steps, not %u", machine, found, n_steps, expected);
    found = result_of(table, fast, usable, 0.04, 9, &n_steps); /* 2 % up and down, and every ninth step five times as long */
    CHECK(found == expected, "%s with noise: %u threads, not %u", machine, found, expected);
}

static void test_decisions(void)
{
    static const speed_table two = {0, 40, 20.5}, two_alike = {0, 20.3, 20}, quota = {0, 20, 30};
    static const speed_table four = {0, 40, 21, 15, 12}, bandwidth = {0, 40, 20, 20.2, 26};
    static const speed_table phone = {0, 40, 20, 14, 11, 0, 0, 0, 25}, phone_all = {0, 40, 20, 14, 11, 0, 0, 0, 8};
    static const speed_table sixteen = {[16] = 9, [12] = 8, [8] = 10, [4] = 20};
    check_result("two cores", two, 2, 2, 2, 8);
    check_result("two cores, memory for one", two_alike, 2, 2, 1, 24);
    check_result("time for one core alone", quota, 2, 2, 1, 8);
    check_result("Raspberry Pi 5", four, 4, 4, 4, 8);
    check_result("memory for two cores", bandwidth, 4, 4, 2, 24);
    check_result("phone", phone, 4, 8, 4, 12);
    check_result("phone whose little cores help", phone_all, 4, 8, 8, 12);
    check_result("sixteen", sixteen, 16, 16, 12, 24);
    rbe__thread_trial trial;
    rbe__thread_trial_begin(&trial, 1, 1);
    CHECK(trial.settled && trial.candidates[0] == 1, "one core: nothing to try");
    rbe__thread_trial_begin(&trial, 64, 64);
    CHECK(trial.n_candidates == 4 && trial.candidates[3] == 16, "64 cores");
}

static void test_files_of_results(void)
{
    char path[512];
    begin_machine();
    snprintf(path, sizeof path, "%s/threads.txt", root);
    rbe_threads_kept line = {
        .machine = 0xAB, .size_class = 26, .n_threads = 2, .n_tried = 2, .tried = {2, 1}, .tokens_per_s = {25.5f, 13.25f}};
    rbe_threads_kept found = {.struct_bytes = sizeof found};
    CHECK(!rbe__thread_results_find(path, 0xAB, 26, &found) && rbe_threads_read(path, 0, &found) == RBE_ERROR_IO, "there is none");
    CHECK(rbe__thread_results_add(path, &line) == RBE_OK && rbe__thread_results_find(path, 0xAB, 26, &found), "%s", rbe_last_error());
    CHECK(found.n_threads == 2 && found.n_tried == 2 && found.tried[1] == 1 && found.tokens_per_s[0] == 25.5f, "read back");
    line.size_class = 27;
    CHECK(rbe__thread_results_add(path, &line) == RBE_OK, "another size");
    line.size_class = 26, line.n_threads = 1;
    CHECK(rbe__thread_results_add(path, &line) == RBE_OK && rbe__thread_results_find(path, 0xAB, 26, &found) && found.n_threads == 1,
          "new");
    CHECK(rbe__thread_results_find(path, 0xAB, 27, &found) && found.n_threads == 2 && !rbe__thread_results_find(path, 0xAC, 26, &found),
          "old");
    CHECK(rbe_threads_read(path, 1, &found) == RBE_OK && found.size_class == 26 && rbe_threads_read(path, 2, &found) == RBE_ERROR_ARGUMENT,
          "two lines");
    for (uint32_t i = 0; i < 300; i++) {
        line.machine = 1000 + i;
        CHECK(rbe__thread_results_add(path, &line) == RBE_OK, "%s", rbe_last_error());
    }
    CHECK(!rbe__thread_results_find(path, 1043, 26, &found) && rbe__thread_results_find(path, 1044, 26, &found) &&
              rbe__thread_results_find(path, 1299, 26, &found),
          "the oldest have gone");
    static const char *const damaged[] = {"",
                                          "rbe-threads 2\n000000ab 26 2\n",
                                          "rbe-threads 1",
                                          "rbe-threads 1\n000000ab 26 0\n",
                                          "rbe-threads 1\n000000ab 26 65\n",
                                          "rbe-threads 1\n000000ab 26 2 x\n",
                                          "rbe-threads 1\n000000ab 26 2 2:1 2:",
                                          "rbe-threads 1\n000000ab 26 2 2:1.5\n",
                                          "rbe-threads 1\n000000ab 99 2\n",
                                          "rbe-threads 1\n1000000ab 26 2\n",
                                          "rbe-threads 1\n000000ab 26 -2\n",
                                          "rbe-threads 1\n\n\n\n"};
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        write_file("threads.txt", damaged[i]);
        CHECK(!rbe__thread_results_find(path, 0xAB, 26, &found), "damage %zu", i);
    }
    write_file("threads.txt", "rbe-threads 1\nnonsense\n000000ab 26 3 3:900");
    CHECK(rbe__thread_results_find(path, 0xAB, 26, &found) && found.n_threads == 3 && found.n_tried == 1, "a good line after a bad one");
    line.machine = 0xAB;
    CHECK(rbe__thread_results_add("/nowhere/threads.txt", &line) == RBE_ERROR_IO && rbe__thread_results_add(root, &line) == RBE_ERROR_IO,
          "no place");
    end_machine();
}

#if defined(__linux__)
static void test_names_of_processors(void)
{
    char name[512], small[12];
    begin_machine();
    rbe__processor_name_read(root, name, sizeof name);
    CHECK(name[0] == 0, "unknown");
    write_file("proc/cpuinfo",
               "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd05\n\nprocessor\t: 1\nCPU implementer\t: 0x41\nCPU part\t: "
               "0xd0b\n\nHardware\t: BCM2712\nModel\t\t: Raspberry Pi 5\n");
    rbe__processor_name_read(root, name, sizeof name);
    CHECK(strcmp(name, "0x41 0xd05 0xd0b BCM2712 Raspberry Pi 5") == 0, "%s", name);
    rbe__processor_name_read(root, small, sizeof small);
    CHECK(strcmp(small, "0x41 0xd05") == 0, "%s", small);
    end_machine();
}
#endif

/* Logits of 40 steps, one after the other. */
static float *run_steps(const rbe_model *model, uint32_t n_vocabulary, const char *kept, rbe_threads_info *info)
{
    const rbe_session_options options = {.struct_bytes = sizeof options, .n_threads = 1};
    rbe_session *session = NULL;
    float *logits = malloc(sizeof *logits * 40 * n_vocabulary);
    CHECK(logits && rbe_session_create(model, &options, &session) == RBE_OK, "%s", rbe_last_error());
    CHECK(!kept || rbe_session_try_threads(session, kept) == RBE_OK, "%s", rbe_last_error());
    for (uint32_t step = 0; step < 40 && logits; step++) {
        const uint32_t token = step * 7 % n_vocabulary;
        CHECK(step % 16 || rbe_session_rewind(session, 0) == RBE_OK, "%s", rbe_last_error()); /* contexts of the golden packs are short */
        CHECK(rbe_session_append(session, &token, 1, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
        memcpy(logits + (size_t)step * n_vocabulary, rbe_session_logits(session), sizeof *logits * n_vocabulary);
        if (kept && step == 2) {
            CHECK(rbe_session_get_threads(session, info) == RBE_OK, "%s", rbe_last_error());
            CHECK(info->state != RBE_THREADS_FOUND, "found after 3 steps");
        }
    }
    CHECK(rbe_session_get_threads(session, info) == RBE_OK, "%s", rbe_last_error());
    rbe_session_free(session);
    return logits;
}

static void test_session_tries(const char *file)
{
    char kept[512];
    rbe_model *model = NULL;
    rbe_model_info of_model = {.struct_bytes = sizeof of_model};
    rbe_threads_info fixed = {.struct_bytes = sizeof fixed}, first = fixed, second = fixed;
    begin_machine();
    snprintf(kept, sizeof kept, "%s/threads.txt", root);
    CHECK(rbe_model_open(file, NULL, &model) == RBE_OK && rbe_model_get_info(model, &of_model) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_model_kept_threads(model, kept) == 0, "nothing is kept yet");
    CHECK(rbe_model_verify(model, NULL, NULL) == RBE_OK, "%s", rbe_last_error()); /* no step is timed beside it */
    float *alone = run_steps(model, of_model.n_vocabulary, NULL, &fixed), *tried = run_steps(model, of_model.n_vocabulary, kept, &first);
    float *again = run_steps(model, of_model.n_vocabulary, kept, &second);
    const size_t bytes = sizeof *alone * 40 * of_model.n_vocabulary;
    CHECK(memcmp(alone, tried, bytes) == 0 && memcmp(alone, again, bytes) == 0, "%s: threads change bits", file);
    CHECK(fixed.state == RBE_THREADS_CHOSEN && fixed.n_threads == 1, "fixed");
    if (rbe__usable_cores() > 1) {
        CHECK(first.state == RBE_THREADS_FOUND && first.n_tried > 1 && first.tokens_per_s[1] > 0, "found: state %u", first.state);
        CHECK(second.state == RBE_THREADS_KEPT && second.n_threads == first.n_threads && second.n_tried == first.n_tried, "kept");
        CHECK(rbe_model_kept_threads(model, kept) == first.n_threads, "kept");
        rbe_threads_kept line = {.struct_bytes = sizeof line};
        CHECK(rbe_threads_read(kept, 0, &line) == RBE_OK && line.machine == rbe_threads_machine(), "the machine's number");
    } else {
        CHECK(first.state == RBE_THREADS_CHOSEN && first.n_threads == 1, "one core");
    }
    free(alone), free(tried), free(again);
    rbe_model_close(model);
    end_machine();
}

int main(void)
{
    const golden_files files = list_golden_files();
    test_decisions();
    test_files_of_results();
#if defined(__linux__)
    test_names_of_processors();
#endif
    for (int f = 0; f < files.n; f++) {
        test_session_tries(files.path[f]);
    }
    CHECK(rbe_session_try_threads(NULL, NULL) == RBE_ERROR_ARGUMENT, "no session");
    return check_finish();
}
