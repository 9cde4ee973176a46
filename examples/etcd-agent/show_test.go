package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func testView() view {
	const status = `{"node":"n1","state":"running","revision":14,"devices":[{"id":"data","type":"disk","state":"pending",` +
		`"reason":"the guest has not let go","place":"pci.0 slot 4"}],"slots":[{"bus":"pci.0","slot":4,"state":"taken","occupant":"data"}]}`
	return newTestMirror(
		"/kvm/nodes/n1/lease", `{"address":"192.0.2.1"}`,
		"/kvm/nodes/n2/epoch", "",
		"/kvm/guests/web1/spec", `{"node":"n1","machine":"pc","memory":256}`,
		"/kvm/guests/web1/owner", `{"node":"n1"}`,
		"/kvm/guests/web1/status", status,
		"/kvm/guests/web2/spec", `{"node":"n1","machine":"pc","memory":256}`,
		"/kvm/guests/web3/spec", `{"node":"n1","machine":"pc","memory":256}`,
		"/kvm/guests/web3/owner", `{"node":"n2"}`,
	).view()
}

func TestTheTable(t *testing.T) {
	var text strings.Builder
	ok(t, overviewOf(testView()).table(&text))
	const want = `NODE  LEASE  ADDRESS
n1    held   192.0.2.1
n2    over   

GUEST  DEVICE  TYPE  WHERE             STATE              REASON
web1                 n1                running            
       data    disk  pci.0 slot 4      pending            the guest has not let go
web2                 (wanted: n1)      nobody has it      a change is not done yet
web3                 n2 (wanted: n1)   its node is gone   a change is not done yet
`
	if squeeze(text.String()) != squeeze(want) {
		t.Errorf("the table is\n%s", text.String())
	}
}

// squeeze makes widths of columns no part of a comparison.
func squeeze(text string) string {
	var lines []string
	for _, line := range strings.Split(text, "\n") {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}

func get(t *testing.T, from http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	answer := httptest.NewRecorder()
	from.ServeHTTP(answer, httptest.NewRequest("GET", path, nil))
	return answer
}

func TestThePageAndWhatItShows(t *testing.T) {
	shown := new(board)
	routes := shown.handler()
	if answer := get(t, routes, "/guests.json"); answer.Code != http.StatusServiceUnavailable {
		t.Errorf("before etcd has answered: %d", answer.Code)
	}
	shown.show(testView())
	answer := get(t, routes, "/guests.json")
	var now overview
	ok(t, json.Unmarshal(answer.Body.Bytes(), &now))
	slot := SlotStatus{"pci.0", 4, "taken", "data"}
	if len(now.Guests) != 3 || len(now.Guests[0].Slots) != 1 || now.Guests[0].Slots[0] != slot || len(now.Nodes) != 2 {
		t.Errorf("guests.json: %s", answer.Body)
	}
	answer = get(t, routes, "/")
	if answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), `fetch("guests.json")`) {
		t.Errorf("the page: %d %s", answer.Code, answer.Body)
	}
	// What a guest or a key is called must not become a part of the page.
	for _, word := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "http://", "https://"} {
		if strings.Contains(string(page), word) {
			t.Errorf("the page has %s", word)
		}
	}
	if answer := get(t, routes, "/other"); answer.Code != http.StatusNotFound {
		t.Errorf("another path: %d", answer.Code)
	}
}
