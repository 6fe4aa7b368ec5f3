package filter

import (
	"fmt"
	"slices"

	"ward/abi"
	"ward/image"
)

// messagesBucket names the bucket of a domain's quota of messages: one for all
// its gates, methods and policies, which their names never are.
const messagesBucket = "messages"

// MessagesOf names the bucket of a domain's quota of messages among all buckets.
func MessagesOf(id abi.DomainID) string { return Sender(id) + " " + messagesBucket }

// quotas adds to the buckets of a method those of the senders' quotas of
// messages, and returns which they are: each message that is admitted is
// charged to them, whatever admits it. A child's is charged to its ancestors'
// too. Replies are not counted: what answers a call does not come unasked.
func (c *Chain) quotas(img *image.Image, r *image.Route, dir abi.Direction, ds []image.Decision, buckets []Rate) ([]Rate, []int, error) {
	if dir != abi.Request || !permitted(ds) {
		return buckets, nil, nil
	}
	var of []int
	add := func(client abi.DomainID, sender string) {
		if int(client) >= len(img.Domains) { // a user outside
			return
		}
		rate := img.Domains[client].Quota.Rate()
		if rate == (image.Rate{}) {
			return
		}
		b := Rate{Sender: sender, Bucket: messagesBucket, Policy: abi.NoPolicy, Every: rate.Every, Burst: rate.Burst}
		i := slices.Index(buckets, b)
		if i < 0 {
			i = len(buckets)
			buckets = append(buckets, b)
		}
		if !slices.Contains(of, i) {
			of = append(of, i)
		}
	}
	if !c.on() {
		add(r.Client, "")
	} else if c.chained(ds) {
		for _, l := range c.Levels {
			add(img.Routes[l.Route].Client, Sender(l.Sender))
		}
	}
	if len(buckets) > Rates {
		return nil, nil, fmt.Errorf("%d rates are charged for it, the quota of messages included; the limit is %d", len(buckets), Rates)
	}
	return buckets, of, nil
}

// chargeQuotas notes that the buckets of the senders' quotas give a token each.
func (g *gen) chargeQuotas() {
	for _, i := range g.effects.quotas {
		g.chargeBucket(i)
	}
}
