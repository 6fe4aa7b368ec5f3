package monitor

import (
	"context"
	"errors"
	"fmt"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
)

// A change of the policy that the monitor before had begun may be impossible now: a
// domain was started again as the old policy has it, the kernel has no room for the programs, or the
// creator refuses the image. In the kernel, some routes have the new policy, and all gates
// that it does not allow may be closed. Then the old policy is put into force again, everywhere: all that is
// loaded gets its programs, as if a change to it were made, but for what the change would
// have closed, which is closed, and may be opened anew. So no message is admitted that
// only the new policy permits, and none by a route of which nobody knows what it has.

// keptFellBack is kept from the decision to fall back until that is done: its record.
const keptFellBack = "fell back"

// redo makes a change that the monitor before had begun: what is swapped
// already is swapped again. If it cannot be made, the old policy stays; if that
// cannot be enforced either, the system stops.
func (m *Monitor) redo(ctx context.Context) {
	defer m.Next.Close()
	defer close(m.redone)
	if !m.fellBack {
		err := m.makeAgain(ctx)
		if err == nil {
			return
		}
		m.mu.Lock()
		if m.stopping || m.inForceNow(err) {
			m.mu.Unlock()
			return
		}
		t := telling{noticeOf(event.None, "a change of the policy that the monitor before had begun cannot be completed, so the policy before it stays in force. Gates that it would have closed are closed, and can be opened again. Why: %v", err)}
		m.keepTold(&t, func() { m.putEvent(keptFellBack, &t[0]) })
		m.mu.Unlock()
	}
	if err := m.fallBack(ctx); err != nil {
		m.notice(event.None, "the policy before a change that cannot be completed cannot be enforced either, so the system stops: %v", err)
		m.Stop()
	}
}

// makeAgain makes the change.
func (m *Monitor) makeAgain(ctx context.Context) error {
	m.mu.Lock()
	running := m.Hash
	m.mu.Unlock()
	_, err := m.change(ctx, &request{kind: event.Reloaded, running: running, text: "begun by the monitor before", sealed: m.Next, again: true})
	return err
}

// inForceNow reports whether the new policy came into force all the same: where it
// could not be swapped nothing passes.
//
// Preconditions: m.mu is held.
func (m *Monitor) inForceNow(err error) bool {
	_, encoded, readErr := readSealed(m.Next)
	if readErr != nil || image.Hash(encoded) != m.Hash {
		return false
	}
	m.notice(event.None, "a change of the policy that the monitor before had begun: %v", err)
	m.keepChange()
	return true
}

// fellBackTo takes over the decision of the monitor before that a change cannot be made.
func (r *restoring) fellBackTo(_ string, k *Kept) error {
	r.m.tellLater([][]byte{k.Value})
	if r.m.Next != nil {
		r.m.fellBack = true
	} else { // it had come to the end
		r.m.whenTold = append(r.m.whenTold, func() { r.m.drop(keptFellBack) })
	}
	return nil
}

// fallBack puts the image that is in force for the monitor into force everywhere.
func (m *Monitor) fallBack(ctx context.Context) error {
	m.loader.lock(asker{task: taskChange})
	defer m.loader.unlock()
	c, err := m.backwards()
	if err != nil {
		return err
	}
	defer c.request.sealed.Close()
	if err := c.prepareAll(); err != nil {
		return err
	}
	if err := m.Creator.Renew(ctx, c.request.sealed); err != nil {
		return errors.Join(fmt.Errorf("the creator: %w", err), c.swap.Cancel())
	}
	c.bound = map[string]*listener{}
	for path, e := range socketsOf(m.Image) { // which the change had closed
		m.mu.Lock()
		_, there := m.sockets[path]
		m.mu.Unlock()
		if there {
			continue
		}
		if c.bound[path], err = m.bindSocket(path, e); err != nil {
			m.notice(event.None, "users cannot reach an export: %v", err)
			delete(c.bound, path)
		}
	}
	m.mu.Lock()
	c.count() // the audit writer was told of the image by introduce
	c.install()
	m.mu.Unlock()
	if _, err := c.swap.Commit(); err != nil {
		m.notice(event.None, "the policy is not in force everywhere: nothing passes there: %v", err)
	}
	c.finish(func() {})
	m.drop(keptFellBack)
	return nil
}

// backwards is a change to the image that is in force, of all that is loaded.
func (m *Monitor) backwards() (*switching, error) {
	sealed, err := dup(m.Sealed)
	if err != nil {
		return nil, err
	}
	_, encoded, err := readSealed(sealed)
	if err != nil {
		sealed.Close()
		return nil, err
	}
	c := &switching{m: m, request: &request{sealed: sealed}, img: m.Image, encoded: encoded, steps: &plan{}, fates: map[Route]*fate{}}
	m.mu.Lock()
	defer m.mu.Unlock()
	c.users = m.users
	m.plans++
	m.sweep()
	loaded, routes := c.loaded()
	dies := m.doomed()
	for at, l := range loaded {
		c.steps.routes = append(c.steps.routes, fate{at: at, loadedRoute: l, dies: dies == nil || dies[routes[at]], reason: abi.ReasonClosed, policy: abi.NoPolicy})
	}
	for i := range c.steps.routes {
		f := &c.steps.routes[i]
		c.changes = append(c.changes, Change{Route: routes[i], Number: f.route, Atoms: f.atoms, Dies: f.dies})
		c.fates[routes[i]] = f
	}
	return c, nil
}

// doomed are the routes that the change would have closed, and may have; nil: it is
// not known which.
//
// Preconditions: m.mu is held.
func (m *Monitor) doomed() map[Route]bool {
	img, _, err := readSealed(m.Next)
	if err != nil || !img.Aligned(m.Image) {
		return nil
	}
	users, err := resolveUsers(img)
	if err != nil {
		return nil
	}
	c := &switching{m: m, img: img, users: users}
	loaded, routes := c.loaded()
	steps := makePlan(m.Image, img, loaded, m.processes())
	over := m.overtakes(img)
	over.dies(steps, loaded, routes)
	dies := map[Route]bool{}
	for i := range steps.routes {
		f := &steps.routes[i]
		dies[routes[f.at]] = f.dies
	}
	return dies
}

// prepareAll prepares the swap. What cannot get its programs dies.
func (c *switching) prepareAll() (err error) {
	if c.swap, err = c.m.Fabric.Prepare(c.img, c.changes); err == nil {
		return nil
	}
	for i := range c.changes {
		one, err := c.m.Fabric.Prepare(c.img, c.changes[i:i+1])
		if err == nil {
			err = one.Cancel()
		}
		if err != nil {
			c.dies(i)
		}
	}
	if c.swap, err = c.m.Fabric.Prepare(c.img, c.changes); err == nil {
		return nil
	}
	for i := range c.changes { // there is room for one, and not for all
		c.dies(i)
	}
	c.swap, err = c.m.Fabric.Prepare(c.img, c.changes)
	return err
}

// dies makes a route die with the swap.
func (c *switching) dies(i int) {
	c.changes[i].Dies, c.steps.routes[i].dies = true, true
}
