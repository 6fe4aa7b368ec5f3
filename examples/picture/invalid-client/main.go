// Command invalid-client tries to get pictures in every way that it can. No
// policy permits any of them, so all must fail; it may only ask how the
// picture manager is (picture.v1.Status).
//
// It exits 0 if every attempt was denied and the one thing that it may do
// worked, 1 otherwise.
package main

import (
	"context"
	"log"
	"os"
	"time"
)

// An attempt is one way of getting what the policy denies. It returns nil if
// it was denied, and what it got otherwise.
type attempt struct {
	name string
	try  func(context.Context) error
}

var attempts = []attempt{
	// By names, and without them.
	{"look the pictures up at the name server", lookUp},
	{"open a gate to the pictures without a lookup", openGuessed},
	{"open a gate to an interface that does not exist", openUnknown},
	{"publish the pictures as its own", publish},
	// On the gate that it has.
	{"ask for pictures on a gate for another interface", callForeign},
	{"send the bytes of such a call itself", sendForeign},
	{"send a method that the interface does not have", sendUnknownMethod},
	{"answer a call that nobody made", sendReply},
	// Around gates.
	{"open a socket of its own", openSocket},
	{"read a file of the host", readFile},
	{"see another process", seeProcesses},
}

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	// The positive control: what is permitted works, by the library and by hand.
	if err := permitted(ctx); err != nil {
		log.Print("invalid-client: what is permitted failed: ", err)
		os.Exit(1)
	}
	through := 0
	for _, a := range attempts {
		if err := a.try(ctx); err != nil {
			through++
			log.Printf("invalid-client: GOT THROUGH: %s: %v", a.name, err)
			continue
		}
		log.Printf("invalid-client: denied: %s", a.name)
	}
	log.Printf("invalid-client: %d attempts, %d got through", len(attempts), through)
	if through > 0 {
		os.Exit(1)
	}
}
