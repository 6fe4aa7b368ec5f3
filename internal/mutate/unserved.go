package main

// A creator that takes over and cannot be brought into service.

var unservedSuite = suite{
	{"creator", "^TestLeavesOthers$"},
	{"holder/child", "^TestUnservedHasNotComeBack$"},
	{"monitor", "^TestRunningLeavesNoCopies$"},
	{"cmd/wardd", "^TestRenewedOrLeft$"},
}

const (
	creatorLeaveGo = "creator/leave.go"
	creatorsGo     = "cmd/wardd/creators.go"
	reapedGo       = "monitor/reaped.go"
)

var unservedMutations = []mutation{
	{what: "a creator that is to leave ends what others made", file: creatorLeaveGo, old: "return true, ErrUnserved }", new: "return true, nil }", tests: "unserved"},
	{what: "an error before it serves ends what others made", file: creatorLeaveGo, old: "case !c.stranger || err == nil", new: "case !c.stranger || c.stranger || err == nil", tests: "unserved"},
	{what: "the end of the system leaves what runs", file: creatorLeaveGo, old: "errors.Is(err, io.EOF) ||", new: "errors.Is(err, io.EOF) && c.img == nil ||", tests: "unserved"},
	{what: "who breaks the protocol once all is known ends the creator alone", file: "creator/adoptchild.go", old: "	c.stranger = false\n", new: "", tests: "unserved"},
	{what: "who breaks the protocol once something was started ends the creator alone", file: "creator/serve.go", old: "c.running[id], c.stranger = r, false", new: "c.running[id] = r", tests: "unserved"},
	{what: "a creator that comes does not know that another was there", file: "creator/serve.go", old: "stranger: cfg.Again}", new: "stranger: cfg.Again && img == nil}", tests: "unserved"},
	{what: "a new creator that cannot be told all is shut down", file: creatorsGo, old: "		c.Leave(ctx) // an error: it has died\n", new: "		c.Close()\n", tests: "unserved"},
	{what: "a new creator serves though what runs cannot be listed", file: creatorsGo, old: "	if err != nil {\n		return err\n	}\n	if sealed != nil {\n", new: "	if err != nil {\n		return nil\n	}\n	if sealed != nil {\n", tests: "unserved"},
	{what: "a creator that cannot be given the image in force is shut down", file: "cmd/wardd/adopt.go", old: "c.Leave(ctx)", new: "c.Close()", tests: "unserved"},
	{what: "the holder does not see that a creator never served", file: "cmd/wardd/main.go", old: "		return child.Unserved\n", new: "		return min(child.Unserved, exitFailed)\n", tests: "unserved"},
	{what: "who took long and never served has come back", file: "holder/child/child.go", old: " && status.ExitStatus() != Unserved", new: "", tests: "unserved"},
	{what: "copies of descriptors are left where one cannot be made", file: reapedGo, old: "			return nil, nil, errors.Join(err, closeRunning(all))\n", new: "			return nil, nil, err\n", tests: "unserved"},
	{what: "copies of descriptors are left where the image cannot be given", file: reapedGo, old: "	if sealed, err = m.imageOfCreator(); err != nil {\n		return nil, nil, errors.Join(err, closeRunning(all))\n", new: "	if sealed, err = m.imageOfCreator(); err != nil {\n		return nil, nil, err\n", tests: "unserved"},
}
