package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The session that the README shows is run line by line against a booted guest, and has to look as it does there; "…"
// stands for what differs each time, and alone on a line for any number of lines.
func TestTheREADMEsSession(t *testing.T) {
	dir, bridge := directory(t), newBridge(t)
	newRecord(t, dir, "web1")
	newImage(t, dir, "data.img")
	qemu := startQEMU(t, filepath.Join(dir, "web1.qmp"), true)
	agent := startAgent(t, dir)

	here := strings.NewReplacer("/run/agent", dir, "/srv/data.img", filepath.Join(dir, "data.img"), "br0", bridge)
	text, err := os.ReadFile("../README.md")
	ok(t, err)
	steps := stepsOf(string(text))
	if len(steps) < 12 {
		t.Fatalf("only %d steps were found in the README", len(steps))
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
			t.Fatalf("$ %s\n%s\nThe README shows\n%s", step.command, output, step.output)
		}
	}
	agent.end(t)
	ok(t, qemu.Kill())
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
