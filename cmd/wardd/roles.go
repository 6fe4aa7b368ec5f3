package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"ward/audit"
	"ward/audit/event"
	"ward/creator"
	"ward/holder/link"
	"ward/image"
	"ward/kernel"
	"ward/monitor"
)

// readImage maps the image of the holder, which nobody can change any more,
// reads it and checks it. The mapping stays; the second result is its hash.
func readImage(o *options) (*image.Image, string, error) {
	return decodeImage(o, inherit(link.ImageFD, "policy image"))
}

// decodeImage maps the image of f, which it closes.
func decodeImage(o *options, f *os.File) (*image.Image, string, error) {
	if f == nil {
		return nil, "", errors.New("no policy image: this process is started by wardd itself")
	}
	defer f.Close()
	encoded, err := link.Map(f)
	if err != nil {
		return nil, "", err
	}
	img, err := image.Decode(encoded)
	if err != nil {
		return nil, "", err
	}
	debug.SetMemoryLimit(memory + memoryEach*int64(len(img.Domains)))
	for i := range img.Domains {
		if d := &img.Domains[i]; d.Names && d.Program == "" {
			d.Program = o.names
		}
	}
	return img, image.Hash(encoded), nil
}

func runAudit(o *options) error {
	img, _, err := readImage(o)
	if err != nil {
		return err
	}
	events, err := link.Inherited(link.FirstFD, "events")
	if err != nil {
		return err
	}
	if err := events.PeekAll(); err != nil {
		return err
	}
	if err := protect("audit", o, img); err != nil {
		return err
	}
	ignoreSignals()
	return audit.Run(audit.Config{Image: img, RunDir: o.runDir, Events: events, OpenRing: ringOpener(o), Again: o.again > 0})
}

func runCreator(o *options) error {
	img, _, err := readImage(o)
	if err != nil {
		return err
	}
	ignoreSignals()
	conn := inherit(link.FirstFD, "creator's channel")
	if conn == nil {
		return errors.New("no channel: this process is started by wardd itself")
	}
	if !o.library { // of an earlier system of this name, all of which was killed together
		if err := kernel.EndOrphans(o.name); err != nil {
			fmt.Fprintf(os.Stderr, "wardd creator: %v\n", err)
		}
	}
	if err := protect("creator", o, img); err != nil {
		return err
	}
	return creator.Serve(conn, img, creator.Config{UIDBase: uint32(uidBase + uidSpan*o.slot), Cgroup: cgroupName(o), Again: o.again > 0})
}

// cgroupName is that of the system's cgroup directory.
func cgroupName(o *options) string { return fmt.Sprintf("ward-%s.%d", o.name, os.Getppid()) }

// ignoreSignals: what ends these processes is the end of their channels.
func ignoreSignals() { signal.Ignore(unix.SIGINT, unix.SIGHUP, unix.SIGPIPE) }

func runMonitor(o *options) int {
	status := exitFailed
	conn, err := link.Inherited(link.FirstFD, "channel to the holder")
	if err != nil {
		fmt.Fprintf(os.Stderr, "wardd monitor: %v\n", err)
		return status
	}
	ignoreSignals()
	unix.Umask(0) // it makes sockets that all users may connect to, and nothing else without saying how
	toHolder := monitor.HolderLink{Conn: conn}
	var ran bool
	if status, err = monitorSystem(o, toHolder, &ran); err != nil {
		toHolder.Tell(link.Fatal, err.Error())
	}
	if ran { // else the holder ends the system, and records that
		toHolder.Tell(link.Done, string([]byte{byte(status)}))
	}
	return 0
}

// monitorSystem runs the system; ran says whether it came to that.
func monitorSystem(o *options, toHolder monitor.HolderLink, ran *bool) (status int, err error) {
	kept, ends, err := toHolder.Restore()
	if err != nil {
		return exitFailed, err
	}
	before, err := sortKept(kept)
	if err != nil {
		return exitFailed, err
	}
	sealed, err := keepImage()
	if err != nil {
		return exitFailed, err
	}
	inForce := inherit(link.ImageFD, "policy image")
	if before.image != nil { // it was changed
		inForce.Close()
		sealed.Close()
		if sealed, err = os.Open(fmt.Sprintf("/proc/self/fd/%d", before.image.Fd())); err != nil {
			return exitFailed, fmt.Errorf("policy image: %w", err)
		}
		inForce = before.image
	}
	img, hash, err := decodeImage(o, inForce)
	if err != nil {
		return exitFailed, err
	}
	events, err := link.Inherited(link.FirstFD+2, "events")
	if err != nil {
		return exitFailed, err
	}
	if err := protect("monitor", o, img); err != nil {
		return exitFailed, err
	}
	queue := monitor.NumberedAuditQueue(events, o.again)
	defer queue.Close()
	queue.Backlog(func(waits bool) {
		if waits {
			toHolder.Put(keptBacklog, nil)
		} else {
			toHolder.Drop(keptBacklog)
		}
	})
	if before.backlog {
		e := event.New(event.Notice)
		e.Text = "events of the monitor before this one are missing here: they waited for the audit writer when it died"
		queue.Event(e)
		toHolder.Drop(keptBacklog)
	}
	fabric, closeFabric, err := fabricOf(img, o, &before, toHolder)
	if err != nil {
		return exitFailed, err
	}
	defer closeFabric()
	channel := inherit(link.FirstFD+1, "channel to the creator")
	if channel == nil {
		return exitFailed, errors.New("no channel to the creator: this process is started by wardd itself")
	}
	newClient := creator.NewClient
	if before.fabric != nil { // another monitor had this channel
		newClient = creator.Takeover
	}
	creators := newCreatorPort(newClient(channel))
	m, err := monitor.New(monitor.Config{
		Image: img, Hash: hash, Sealed: sealed, NamesProgram: o.names, RunDir: o.runDir, Level: o.level(), UntilDone: o.untilDone, Grace: o.grace,
		Kept: before.rest, Next: before.next, ImageChanged: before.image != nil,
		Fabric: fabric, Creator: creators, Audit: queue, Holder: toHolder,
		Credentials: credentials, Sockets: monitor.UnixSockets, Queues: monitor.UnixQueues, Memories: memoryPort{},
	})
	if err != nil {
		return exitFailed, err
	}
	if before.fabric != nil {
		creators.adopt(context.Background(), m)
	}
	for _, e := range ends {
		m.Orphan(e.PID, e.Status)
	}
	go toHolder.Listen(monitor.Listener{
		Stop:  m.Stop,
		Audit: m.AuditRenewed,
		Creator: func(conn *os.File) {
			if err := creators.renewed(context.Background(), m, conn); err != nil {
				e := event.New(event.Notice)
				e.Text = fmt.Sprintf("a new creator cannot be told what runs, so it ends, nothing else does, and another one is tried: %v", err)
				fmt.Fprintf(os.Stderr, "wardd monitor: %s\n", e.Text)
				queue.Event(e)
			}
		},
		Orphan:  func(e monitor.Ended) { m.Orphan(e.PID, e.Status) },
		Refused: m.UpgradeRefused,
	})
	*ran = true
	return m.Run(context.Background())
}

// credentials asks the kernel who connected.
func credentials(c *link.Conn) (monitor.Credentials, error) {
	var p kernel.Peer
	var peerErr error
	err := c.Control(func(fd uintptr) { p, peerErr = kernel.PeerOf(int(fd)) })
	return monitor.Credentials{UID: p.UID, GID: p.GID, PID: p.PID, Groups: p.Groups, Pidfd: p.Pidfd}, errors.Join(err, peerErr)
}
