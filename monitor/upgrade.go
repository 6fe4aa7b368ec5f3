package monitor

import (
	"fmt"
	"sync"
	"time"

	"ward/abi"
)

// fixed says why nothing of a system at the level library is changed while it
// runs, and what to do instead. what is what was asked for.
func fixed(what string) error {
	return fmt.Errorf("%s is not possible while a system runs at the level library: its filters are locked as they are, and no monitor takes over from another one. "+
		"Nothing was changed: stop it with 'ward down', and start it with 'ward up --level library', which takes policy and programs as they are then", what)
}

// An upgrader is a holder that can replace the processes of wardd.
type upgrader interface{ Upgrade() error }

// upgrades is what the holder says of upgrades that it does not make.
type upgrades struct {
	one sync.Mutex  // one is asked for at a time
	no  chan string // why not
}

// UpgradeRefused takes note that the holder makes no upgrade.
func (m *Monitor) UpgradeRefused(why string) {
	select {
	case m.upgrades.no <- why:
	default: // nobody waits for it any more
	}
}

// upgrade asks the holder to replace the processes of wardd, of which this one
// is one: if it returns, nothing was replaced, for the reason that it returns.
func (m *Monitor) upgrade() (why string) {
	if m.Level == abi.LevelLibrary {
		return fixed("an upgrade").Error()
	}
	holder, ok := m.Holder.(upgrader)
	if !ok {
		return "the first process of this system cannot replace others"
	}
	m.upgrades.one.Lock()
	defer m.upgrades.one.Unlock()
	select {
	case <-m.upgrades.no: // to a question that was given up
	default:
	}
	if err := holder.Upgrade(); err != nil {
		return fmt.Sprintf("the first process of wardd does not listen: %v", err)
	}
	select {
	case why := <-m.upgrades.no:
		return "nothing was upgraded: " + why
	case <-m.stop:
		return "nothing was upgraded: the system stops"
	case <-time.After(adminTimeout):
		return "the first process of wardd does not say whether it upgrades anything: see 'ward audit'"
	}
}
