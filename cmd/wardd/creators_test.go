package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/audit"
	"ward/creator"
	"ward/holder/child"
	"ward/holder/lifeline"
	"ward/image"
	"ward/monitor"
)

// listed is a monitor that tells a new creator this.
type listed func() ([]monitor.Running, *os.File, error)

func (l listed) Running() ([]monitor.Running, *os.File, error) { return l() }

// comes starts a creator in the place of another; served is why it has ended.
func comes(t *testing.T, cgroup string) (conn *os.File, served chan error) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	served = make(chan error, 1)
	img := &image.Image{Name: "test", Domains: []image.Domain{{Name: "idle"}}}
	go func() {
		served <- creator.Serve(os.NewFile(uintptr(pair[1]), "creator"), img, creator.Config{UIDBase: uidBase, Cgroup: cgroup, Again: true})
	}()
	return os.NewFile(uintptr(pair[0]), "monitor"), served
}

// A new creator that cannot be told what runs, because that cannot be listed or because
// it refuses a part of it, ends alone, as one that has not served; who waits for a
// creator is answered by the next one that can.
func TestRenewedOrLeft(t *testing.T) {
	needsRoot(t)
	ctx, cgroup := context.Background(), fmt.Sprintf("ward-test-renewed.%d", os.Getpid())
	conn, served := comes(t, cgroup)
	p := newCreatorPort(creator.NewClient(conn))
	p.now.Leave(ctx)
	<-served
	answered := make(chan error, 1)
	go func() { answered <- p.Signal(ctx, 0, syscall.SIGTERM) }()
	for what, m := range map[string]listed{
		"cannot be listed": func() ([]monitor.Running, *os.File, error) { return nil, nil, unix.EMFILE },
		"a part is refused": func() ([]monitor.Running, *os.File, error) {
			pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
			if err != nil {
				t.Fatal(err)
			}
			return []monitor.Running{{PID: os.Getpid(), Pidfd: os.NewFile(uintptr(pidfd), "pidfd")}}, nil, nil
		},
		"the image is none": func() ([]monitor.Running, *os.File, error) {
			f, err := os.Open(os.DevNull)
			return nil, f, err
		},
	} {
		conn, served := comes(t, cgroup)
		if err := p.renewed(ctx, m, conn); err == nil {
			t.Fatalf("%s: no error", what)
		}
		if err := <-served; !errors.Is(err, creator.ErrUnserved) || statusOf(err) != child.Unserved {
			t.Errorf("%s: the creator ended with %v, status %d", what, err, statusOf(err))
		}
		if what == "a part is refused" { // one that a monitor takes over knows what runs
			continue
		}
		conn, served = comes(t, cgroup)
		newCreatorPort(creator.Takeover(conn)).adopt(ctx, m)
		if err := <-served; !errors.Is(err, creator.ErrUnserved) {
			t.Errorf("%s: the creator of before ended with %v", what, err)
		}
	}
	select {
	case err := <-answered:
		t.Errorf("answered by one that has left: %v", err)
	default:
	}
	conn, served = comes(t, cgroup)
	if err := p.renewed(ctx, listed(func() ([]monitor.Running, *os.File, error) { return nil, nil, nil }), conn); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err == nil || !strings.Contains(err.Error(), "does not run") {
		t.Errorf("the answer of the next one: %v", err)
	}
	p.now.Close()
	if err := <-served; err != nil || statusOf(errors.New("another")) != exitFailed {
		t.Error(err)
	}
}

// TestCreatorCannotBeTold: where what a creator left cannot be cleared up, here the cgroup
// of a child that stays busy, the next one is not brought into service. No domain ends
// by that, calls go on, and as soon as it can be cleared up there is a creator again.
func TestCreatorCannotBeTold(t *testing.T) {
	r := up(t, pair+"  other: { program: PROBE, args: [idle] }\n")
	r.report(lifeline.Ready)
	r.await(r.since, "an allowed call", isCall(audit.Allow, "hello"))
	trees, _ := filepath.Glob("/sys/fs/cgroup/ward-" + r.name + ".*")
	if v2, _ := filepath.Glob("/sys/fs/cgroup/unified/ward-" + r.name + ".*"); len(v2) > 0 {
		trees = v2
	}
	if len(trees) != 1 {
		t.Skip("needs cgroup v2: mount -t cgroup2 none /sys/fs/cgroup")
	}
	busy := filepath.Join(trees[0], fmt.Sprintf("child.%d", image.FirstChild), "busy")
	if err := os.MkdirAll(busy, 0o755); err != nil {
		t.Fatal(err)
	}
	before, at := r.domains(), time.Now()
	r.kills(r.processes()["creator"])
	told := r.await(at, "that a new creator cannot be told", func(rec *audit.Record) bool {
		return rec.Event == audit.EventNotice && strings.Contains(rec.Detail, "a new creator cannot be told what runs")
	})
	if !strings.Contains(told.Detail, filepath.Base(filepath.Dir(busy))) {
		t.Errorf("why is not said: %s", told.Detail)
	}
	if err := os.Remove(busy); err != nil {
		t.Fatal(err)
	}
	r.await(at, "that it is started again", func(rec *audit.Record) bool {
		return rec.Event == audit.EventNotice && strings.Contains(rec.Detail, fmt.Sprintf("the creator has ended (exit status %d): it is started again", child.Unserved))
	})
	r.await(time.Now(), "an allowed call after that", isCall(audit.Allow, "hello"))
	r.sameDomains(before)
	r.ends() // in order: there is a creator
}
