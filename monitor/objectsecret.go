package monitor

import (
	"fmt"

	"ward/abi"
	"ward/image"
	"ward/objects"
)

// Secret memory is its maker's alone. The monitor makes it, for the domain that
// may, and has it no longer than until the answer is sent; neither has the holder.
// From then on nobody but the processes of the domain can map it, and what they do
// with it nobody sees: whether it is still mapped no lease says, since such a file
// is not opened twice. So an instance counts until nothing of its maker's process
// runs, and its reference lasts as long.

// secretsFit reports why an image cannot be in force here: it has secret memory,
// and the kernel has none.
func (m *Monitor) secretsFit(img *image.Image) error {
	name := img.HasSecrets()
	if name == "" || m.Memories == nil || m.Level == abi.LevelLibrary { // objects are refused when they are asked for
		return nil
	}
	if err := m.Memories.Secrets(); err != nil {
		return fmt.Errorf("the object %s is secret: %w", name, err)
	}
	return nil
}

// secretMisnamed says why an object is not made by a request that takes it for
// secret, or does not.
func secretMisnamed(o *image.Object) string {
	if o.Kind == image.ObjectSecret {
		return fmt.Sprintf("%s is secret memory, which is asked for as that (MakeSecret)", o.Name)
	}
	return fmt.Sprintf("%s is not secret: others may be given it; system.yaml says `secret: true` of what is", o.Name)
}

// makeSecret makes an instance for who may, and gives it away.
func (w *wish) makeSecret(size uint64, policy uint32) {
	m := w.m
	f, err := m.Memories.MakeSecret(size)
	if err != nil {
		w.failed(err)
		return
	}
	i := m.book.MakeSecret(w.e.Interface, size)
	m.book.memory[i.ID] = f
	m.keepInstance(i) // with the descriptor: the next monitor tells who was not told
	w.e.Count = size
	w.hand(w.refer(i, bothAccess, 0, policy), f)
	if m.book.Instance(i.ID) != nil {
		m.letGo(i)
	}
}

// letGo gives up what the monitor and the holder have of secret memory, which its
// maker has now.
func (m *Monitor) letGo(i *objects.Instance) {
	m.book.memory[i.ID].Close()
	delete(m.book.memory, i.ID)
	m.keepInstance(i)
}

// tellSecret is tellObjects of secret memory. What the holder has no descriptor of
// was told.
func (m *Monitor) tellSecret(d *domain, r *objects.Reference, i *objects.Instance) {
	d.requests.again(r.Asked)
	f := m.book.memory[i.ID]
	if f != nil && d.send(objectAnswer(r, i), f) == nil {
		m.letGo(i)
	}
}

// secret takes over an instance of secret memory.
func (r *restoring) secret(id uint32, rec *instanceRecord, k *Kept) error {
	if err := r.m.book.RestoreInstance(objects.Instance{ID: id, Object: rec.Object, Size: rec.Size, Secret: true}); err != nil {
		return err
	}
	if len(k.Files) == 1 {
		r.m.book.memory[id], k.Files = k.Files[0], nil
	}
	return nil
}
