/* A test, or a part of one, that this machine cannot run: without a kernel module, a device, or other
 * hardware.
 *
 *     test_part_not_run("a vhost-net that works", "%s: %s", path, strerror(errno));   // the test goes on
 *     test_not_run("the kernel has no module scsi_debug");                            // the test ends here
 *
 * Both append a line, with the test's name and the reason, to the file that the environment variable
 * KVM_HOTPLUG_NOT_RUN names (build/not-run without it). tests/run shows that list at its end. ctest counts a
 * test that ends so as skipped, and not as passed. What tests/bin/setup installs has to be there: a test that
 * misses it fails.
 */
#ifndef TEST_NOT_RUN_H
#define TEST_NOT_RUN_H

/* After test_begin(), and before the test goes where it cannot see that file. */
void test_part_not_run(const char *part, const char *reason, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void test_not_run(const char *reason, ...) __attribute__((format(printf, 1, 2)));

#endif
