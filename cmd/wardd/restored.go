package main

// Restored ends the taking over of what an earlier monitor made.
func (p fabricPort) Restored() error { return p.fabric.Restored() }
