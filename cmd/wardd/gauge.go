package main

import (
	"errors"
	"time"

	"ward/abi"
	"ward/filter"
	"ward/monitor"
)

// fabricPort is a monitor.Gauge; what stands for the fabric at the level library is none.

func (p fabricPort) Pending(g monitor.Gate) (int, error) {
	gate, ok := g.(gatePort)
	if !ok {
		return 0, errors.New("gate of another fabric")
	}
	return gate.Pending()
}

func (p fabricPort) Messages(id abi.DomainID) (time.Duration, error) {
	return p.fabric.UntilFull(filter.MessagesOf(id))
}
