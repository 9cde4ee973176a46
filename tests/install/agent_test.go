package main

import "testing"

func TestVersion(t *testing.T) {
	said, err := version()
	if err != nil {
		t.Fatal(err)
	}
	t.Log(said)
}
