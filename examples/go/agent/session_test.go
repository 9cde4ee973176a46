package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The sessions that ../README.md and docs/go.md show are run line by line against a booted guest, and have to look as they do there; "…"
// stands for what differs each time, and alone on a line for any number of lines.
func TestTheSessionsOfTheDocuments(t *testing.T) {
	dir, bridge := directory(t), newBridge(t)
	newRecord(t, dir, "web1")
	newImage(t, dir, "data.img")
	qemu := startQEMU(t, filepath.Join(dir, "web1.qmp"), true)
	agent := startAgent(t, dir)

	here := strings.NewReplacer("/run/agent", dir, "/srv/data.img", filepath.Join(dir, "data.img"), "br0", bridge)
	follow(t, here, "../README.md", 12)
	follow(t, here, "../../../docs/go.md", 4)
	agent.end(t)
	ok(t, qemu.Kill())
}

// follow does what the file says, in at least so many steps.
func follow(t *testing.T, here *strings.Replacer, file string, least int) {
	t.Helper()
	text, err := os.ReadFile(file)
	ok(t, err)
	steps := stepsOf(string(text))
	if len(steps) < least {
		t.Fatalf("only %d steps were found in %s", len(steps), file)
	}
	prelude := "set -e\n"
	for _, step := range steps {
		command := here.Replace(step.command)
		if strings.Contains(command, "() {") {
			prelude += command + "\n"
			continue
		}
		output, err := exec.Command("bash", "-c", prelude+command).CombinedOutput()
		if err != nil {
			t.Fatalf("$ %s\n%s%v", command, output, err)
		}
		t.Logf("$ %s\n%s", step.command, output)
		if !looksLike(string(output), here.Replace(step.output)) {
			t.Fatalf("$ %s\n%s\n%s shows\n%s", step.command, output, file, step.output)
		}
	}
}

type step struct{ command, output string }

// stepsOf finds the lines that begin with "$ " in console blocks, and what is shown below each.
func stepsOf(text string) (steps []step) {
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(text, -1) {
		for _, part := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, output, _ := strings.Cut(part, "\n")
			steps = append(steps, step{command, strings.TrimRight(output, "\n")})
		}
	}
	return steps
}

func looksLike(got, shown string) bool {
	pattern := strings.ReplaceAll("\n"+regexp.QuoteMeta(shown), "\n…\n", "\n(?s:.*)\n")
	pattern = strings.ReplaceAll(pattern, "…", ".*")
	return regexp.MustCompile("^" + pattern + "\n$").MatchString("\n" + got)
}
