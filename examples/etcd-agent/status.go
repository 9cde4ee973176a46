package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"text/tabwriter"
)

// overview is what status and page show.
type overview struct {
	Revision int64      `json:"revision"`
	Nodes    []nodeLine `json:"nodes"`
	Guests   []guestRow `json:"guests"`
}

type nodeLine struct {
	Name    string `json:"name"`
	Alive   bool   `json:"alive"`
	Address string `json:"address,omitempty"`
}

type guestRow struct {
	Name string `json:"name"`
	// Wanted is the node where the guest is to be, Owner the one that may run it.
	Wanted string `json:"wanted,omitempty"`
	Owner  string `json:"owner,omitempty"`
	// Current: the status is about what is wanted now.
	Current bool   `json:"current"`
	Problem string `json:"problem,omitempty"`
	Status
}

func overviewOf(now view) overview {
	made := overview{Revision: now.Revision, Nodes: []nodeLine{}, Guests: []guestRow{}}
	for _, node := range now.Nodes {
		made.Nodes = append(made.Nodes, nodeLine{node.Name, node.Revision != 0, node.Info.Address})
	}
	for _, guest := range now.Guests {
		row := guestRow{Name: guest.Name, Owner: guest.Owner.Node, Problem: guest.Problem}
		if guest.Spec != nil {
			row.Wanted = guest.Spec.Node
		}
		if guest.Status != nil {
			row.Status = *guest.Status
		}
		if row.State == "" {
			row.State = "nobody has it"
		}
		if guest.Owner.Node != "" && now.node(guest.Owner.Node).Revision == 0 {
			row.State = "its node is gone"
		}
		row.Current = row.Revision >= guest.Changed
		made.Guests = append(made.Guests, row)
	}
	sort.Slice(made.Nodes, func(a, b int) bool { return made.Nodes[a].Name < made.Nodes[b].Name })
	sort.Slice(made.Guests, func(a, b int) bool { return made.Guests[a].Name < made.Guests[b].Name })
	return made
}

// table writes it for people: a line for each node, guest and device, and for what is wrong.
func (o overview) table(to io.Writer) error {
	out := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "NODE\tLEASE\tADDRESS")
	for _, node := range o.Nodes {
		lease := "over"
		if node.Alive {
			lease = "held"
		}
		fmt.Fprintf(out, "%s\t%s\t%s\n", node.Name, lease, node.Address)
	}
	fmt.Fprintln(out, "\nGUEST\tDEVICE\tTYPE\tWHERE\tSTATE\tREASON")
	for _, guest := range o.Guests {
		where := guest.Owner
		if guest.Wanted != guest.Owner {
			where = fmt.Sprintf("%s (wanted: %s)", guest.Owner, guest.Wanted)
		}
		fmt.Fprintf(out, "%s\t\t\t%s\t%s\t%s\n", guest.Name, where, guest.State, guest.about())
		for _, device := range guest.Devices {
			fmt.Fprintf(out, "\t%s\t%s\t%s\t%s\t%s\n", device.ID, device.Type, device.Place, device.State, device.Reason)
		}
	}
	return out.Flush()
}

// about is what is wrong with the guest, or still to come.
func (g guestRow) about() string {
	switch {
	case g.Problem != "":
		return g.Problem
	case g.Error != "":
		return g.Error
	case !g.Current:
		return "a change is not done yet"
	}
	return ""
}

func statusMain(ctx context.Context, arguments []string) error {
	flags := newOptions("status")
	asJSON := flags.Bool("json", false, "as JSON, with the slots")
	if err := flags.parse(arguments, 0, 0); err != nil {
		return err
	}
	client, keys, err := flags.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	all, _, err := load(ctx, client, keys)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(os.Stdout).Encode(overviewOf(all.view()))
	}
	return overviewOf(all.view()).table(os.Stdout)
}
