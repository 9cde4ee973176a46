/* Checks for the C tests, and the frame around them:
 *
 *     int main(void)
 *     {
 *         test_begin("nic-add", 60);
 *         CHECK(1 + 1 == 2);
 *         ok(some_call());                  // must return 0
 *         err(some_call(NULL), -EINVAL);    // must return exactly this
 *         return test_end();
 *     }
 *
 * The first check that fails says where and with which values, and ends the process with status 1. A test
 * that makes no check, or that leaves without test_end(), fails as well. Whatever way it ends, what it made
 * is cleaned up (reaper.h).
 */
#ifndef TEST_CHECK_H
#define TEST_CHECK_H

/* To be called first, while there is one thread only. After `seconds` the test is killed and counts as
 * failed. */
void test_begin(const char *name, int seconds);

/* A time limit, longer where things are slow: the number times KVM_HOTPLUG_TEST_SLOW, for valgrind and
 * such. */
int test_patience(int limit);

/* The exit status for main. */
int test_end(void);

/* For not_run.h: the name that test_begin() got; the test ends without having passed or failed. */
const char *test_own_name(void);
void test_ends_unrun(void);

/* Says why, and ends the process with status 1. */
_Noreturn void test_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* What the macros below expand to. */
void test_count_check(void);
void test_check_number(const char *file, int line, const char *what, long long got, long long want);
void test_check_text(const char *file, int line, const char *what, const char *got, const char *want);

#define FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(condition) ((condition) ? test_count_check() : FAIL("not true: %s", #condition))
#define CHECK_NUMBER(got, want) test_check_number(__FILE__, __LINE__, #got, (long long)(got), (long long)(want))
#define CHECK_TEXT(got, want) test_check_text(__FILE__, __LINE__, #got, (got), (want))
#define ok(call) CHECK_NUMBER(call, 0)
#define err(call, negative_errno) CHECK_NUMBER(call, negative_errno)

#endif
