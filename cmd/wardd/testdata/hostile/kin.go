//go:build linux

package main

import (
	"fmt"

	"ward/abi"
)

// about asks the monitor something of a child or delegation by its number.
func about(op abi.ControlOp, args []string) (string, error) {
	a, err := ask(abi.Control{Op: op, Block: uint32(number(args[0]))})
	if err == nil && a.Op == abi.OpRefused {
		err = fmt.Errorf("%v: %s", a.Reason, a.Text)
	}
	return "", err
}

func init() {
	orders["killchild"] = func(args []string) (string, error) { return about(abi.OpKill, args) }
	orders["takeback"] = func(args []string) (string, error) { return about(abi.OpTakeBack, args) }
	orders["borrow"] = func(args []string) (string, error) { return about(abi.OpBorrow, args) }
	orders["spawn"] = func(args []string) (string, error) {
		a, err := ask(abi.Control{Op: abi.OpSpawn, Text: (&abi.SpawnRequest{Template: args[0]}).Encode()})
		if err == nil && a.Op == abi.OpRefused {
			err = fmt.Errorf("%v: %s", a.Reason, a.Text)
		}
		return a.Name, err
	}
}
