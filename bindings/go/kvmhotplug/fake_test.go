package kvmhotplug_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// fakeMonitor speaks enough QMP for a pc machine without devices, to one client. What a device's id begins with decides
// what becomes of it:
//
//	bad-   device_add is refused, with the id in QEMU's words
//	mute-  device_add is not answered, nor is anything after it on this connection
//	stay-  device_del is granted only by release
type fakeMonitor struct {
	socket   string
	listener net.Listener

	mutex   sync.Mutex
	conn    net.Conn
	devices map[string]map[string]any // id: what device_add gave it
	asked   chan string               // commands that are not answered, and removals that are not granted
}

type fakeCommand struct {
	Execute   string         `json:"execute"`
	Arguments map[string]any `json:"arguments"`
	ID        any            `json:"id"`
}

type fakeRefusal struct{ class, desc string }

func startFake(t testing.TB) *fakeMonitor {
	t.Helper()
	fake := &fakeMonitor{
		socket:  filepath.Join(t.TempDir(), "qmp"),
		devices: map[string]map[string]any{},
		asked:   make(chan string, 64),
	}
	listener, err := net.Listen("unix", fake.socket)
	if err != nil {
		t.Fatal(err)
	}
	fake.listener = listener
	var serving sync.WaitGroup
	serving.Add(1)
	go func() {
		defer serving.Done()
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			fake.serve(conn)
		}
	}()
	t.Cleanup(func() {
		fake.stop()
		serving.Wait()
	})
	return fake
}

// stop hangs up, and nobody listens any more.
func (f *fakeMonitor) stop() {
	f.listener.Close()
	f.hangUp()
}

func (f *fakeMonitor) hangUp() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.conn != nil {
		f.conn.Close()
	}
}

func (f *fakeMonitor) serve(conn net.Conn) {
	defer conn.Close()
	f.mutex.Lock()
	f.conn = conn
	f.mutex.Unlock()
	f.send(map[string]any{"QMP": map[string]any{
		"version":      map[string]any{"qemu": map[string]int{"major": 9, "minor": 2, "micro": 0}, "package": ""},
		"capabilities": []string{"oob"},
	}})
	decoder := json.NewDecoder(conn)
	for {
		var command fakeCommand
		if err := decoder.Decode(&command); err != nil {
			return
		}
		if id, _ := command.Arguments["id"].(string); command.Execute == "device_add" && strings.HasPrefix(id, "mute-") {
			f.asked <- id
			_, _ = io.Copy(io.Discard, conn)
			return
		}
		f.handle(command)
	}
}

func (f *fakeMonitor) send(message any) {
	text, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	_, _ = f.conn.Write(append(text, '\r', '\n'))
}

func (f *fakeMonitor) handle(command fakeCommand) {
	id, _ := command.Arguments["id"].(string)
	answer, refusal := f.answer(command, id)
	reply := map[string]any{"return": answer}
	if refusal != nil {
		reply = map[string]any{"error": map[string]string{"class": refusal.class, "desc": refusal.desc}}
	}
	// Answers come in order; an id is given back only where one was given.
	if command.ID != nil {
		reply["id"] = command.ID
	}
	f.send(reply)
	if refusal != nil {
		return
	}
	if command.Execute != "device_del" {
		return
	}
	if strings.HasPrefix(id, "stay-") {
		f.asked <- id
		return
	}
	f.release(id)
}

// release lets go of a device, as the guest does some time after it was asked.
func (f *fakeMonitor) release(id string) {
	f.mutex.Lock()
	delete(f.devices, id)
	f.mutex.Unlock()
	f.send(map[string]any{
		"event":     "DEVICE_DELETED",
		"data":      map[string]string{"device": id, "path": "/machine/peripheral/" + id},
		"timestamp": map[string]int{"seconds": 1, "microseconds": 0},
	})
}

func (f *fakeMonitor) answer(command fakeCommand, id string) (any, *fakeRefusal) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	switch command.Execute {
	case "query-pci":
		return f.queryPCI(), nil
	case "query-status":
		return map[string]any{"running": true, "status": "running"}, nil
	case "query-fdsets":
		return []any{}, nil
	case "qom-list":
		return f.qomList(command.Arguments["path"]), nil
	case "qom-get":
		return f.qomGet(command.Arguments["path"], command.Arguments["property"])
	case "device_add":
		if strings.HasPrefix(id, "bad-") {
			return nil, &fakeRefusal{"GenericError", "the fake has taken against " + id}
		}
		f.devices[id] = command.Arguments
	case "device_del":
		if _, ok := f.devices[id]; !ok {
			return nil, &fakeRefusal{"DeviceNotFound", "Device '" + id + "' not found"}
		}
	}
	return map[string]any{}, nil
}

func (f *fakeMonitor) queryPCI() any {
	device := func(slot int, name string) any {
		return map[string]any{
			"bus": 0, "slot": slot, "function": 0, "qdev_id": name, "regions": []any{},
			"id": map[string]int{"vendor": 0x8086, "device": 0x1237}, "class_info": map[string]any{"class": 0x0600},
		}
	}
	devices := []any{device(0, "")}
	for id, arguments := range f.devices {
		devices = append(devices, device(slotOf(arguments), id))
	}
	return []any{map[string]any{"bus": 0, "devices": devices}}
}

func (f *fakeMonitor) qomList(path any) any {
	list := []any{}
	if path == "/machine/peripheral" {
		for id := range f.devices {
			list = append(list, map[string]string{"name": id, "type": "child<virtio-blk-pci>"})
		}
	}
	return list
}

func slotOf(arguments map[string]any) (slot int) {
	_, _ = fmt.Sscanf(fmt.Sprint(arguments["addr"]), "%x", &slot)
	return slot
}

// qomGet is what device_add gave, and where that has put the device.
func (f *fakeMonitor) qomGet(path, property any) (any, *fakeRefusal) {
	id, _ := strings.CutPrefix(fmt.Sprint(path), "/machine/peripheral/")
	arguments, ok := f.devices[id]
	if !ok {
		return nil, &fakeRefusal{"DeviceNotFound", fmt.Sprintf("Device '%s' not found", path)}
	}
	switch property {
	case "type":
		return arguments["driver"], nil
	case "parent_bus":
		return fmt.Sprint("/machine/i440fx/", arguments["bus"]), nil
	case "addr":
		return 8 * slotOf(arguments), nil
	}
	if value, ok := arguments[fmt.Sprint(property)]; ok {
		return value, nil
	}
	return nil, &fakeRefusal{"GenericError", fmt.Sprintf("Property '%s' not found", property)}
}
