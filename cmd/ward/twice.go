package main

import (
	"path/filepath"
	"time"
)

// takenWait is how long a system of the same name may still be ending: `ward
// down` has just returned, or whoever ran `ward up` has stopped it.
const takenWait = time.Second

// notTaken refuses a name that a running system has, before anything is built,
// noted or told of the one that is to start. wardd's lock decides (lockDir); whoever
// comes between is told the same by it.
func notTaken(name string) error {
	dir := filepath.Join(runRoot, name)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(takenWait); ; <-tick.C {
		pid, err := holderOf(dir)
		if err != nil || pid == 0 { // what cannot be known here wardd finds out
			return nil
		}
		if time.Now().After(end) {
			return failed("a system with this name is running already (%s, process %d): 'ward reload --system %s DIR' puts changes into force; or stop it with 'ward down %s', or give this one another name", name, pid, name, name)
		}
	}
}
