package policy

// Whole keeps what a forbid always overrides: routes and permits that have no
// effect. Such an image is for finding out which policy overrides a permit, and
// not to be run.
func Whole() Option { return func(c *compiler) { c.whole = true } }
