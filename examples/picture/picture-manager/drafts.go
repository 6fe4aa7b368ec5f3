package main

import (
	"context"
	"log"
	"sync"

	"ward/examples/picture/picturev1"
	"ward/gate/grpcgate"
)

// drafts is an interface that comes and goes: it is published after the first
// picture was watched, and withdrawn once somebody has asked for the draft.
type drafts struct {
	picturev1.UnimplementedDraftsServer
	ctx   context.Context
	once  sync.Once
	asked chan struct{}
	ask   func()
}

func newDrafts(ctx context.Context) *drafts {
	d := &drafts{ctx: ctx, asked: make(chan struct{})}
	d.ask = sync.OnceFunc(func() { close(d.asked) })
	return d
}

// publish publishes the interface, the first time it is called.
func (d *drafts) publish() {
	d.once.Do(func() {
		s := grpcgate.NewServer()
		picturev1.RegisterDraftsServer(s, d)
		go func() {
			select {
			case <-d.asked:
			case <-d.ctx.Done():
			}
			s.GracefulStop()
		}()
		go func() {
			if err := serveAll(s); err != nil {
				log.Print("picture-manager: drafts: ", err)
			}
		}()
	})
}

func (d *drafts) Latest(context.Context, *picturev1.LatestRequest) (*picturev1.LatestReply, error) {
	d.ask()
	return &picturev1.LatestReply{Name: "draft-meadow"}, nil
}
