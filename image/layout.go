package image

// The layout of each table, in the order of the struct's fields. Any change
// here is a new Version.

func (c *codec) verdict(v *Verdict) {
	c.bool(&v.Allow)
	c.u32(&v.Policy)
}

func (c *codec) domain(d *Domain) {
	c.str(&d.Name)
	c.str(&d.Program)
	list(c, &d.Digest, (*codec).byte)
	list(c, &d.Pins, func(c *codec, p *Pin) { c.str(&p.Path); list(c, &p.Digest, (*codec).byte) })
	c.strings(&d.Args)
	c.strings(&d.Env)
	c.bool(&d.Host)
	c.i32(&d.Ring.Level)
	c.str(&d.Ring.Name)
	list(c, &d.Files, (*codec).file)
	list(c, &d.Listen, func(c *codec, l *Listen) { c.str(&l.Name); c.str(&l.Address); c.bool(&l.Self) })
	c.strings(&d.Connect)
	list(c, &d.Exports, (*codec).export)
	c.strings(&d.Needs)
	c.u64(&d.Tmp)
	c.bool(&d.Once)
	small(c, &d.Restart)
	c.u64(&d.Grace)
	c.bool(&d.Notify)
	c.bool(&d.Names)
	c.verdict(&d.Start)
	c.u32(&d.Quota.Processes)
	c.u64(&d.Quota.Memory)
	c.u32(&d.Quota.CPUWeight)
	c.u32(&d.Quota.CPU)
	c.u32(&d.Quota.Files)
	c.u64(&d.Quota.FileSize)
	c.u64(&d.Quota.Disk)
	c.u32(&d.Quota.Gates)
	c.u32(&d.Quota.Messages)
}

func (c *codec) file(f *File) {
	c.str(&f.Path)
	small(c, &f.Access)
	c.bool(&f.AsRoot)
	c.verdict(&f.Verdict)
}

func (c *codec) export(e *Export) {
	c.u32(&e.Interface)
	c.str(&e.Socket)
	c.verdict(&e.Publish)
}

func (c *codec) iface(i *Interface) {
	c.str(&i.Name)
	list(c, &i.Methods, func(c *codec, m *Method) {
		c.str(&m.Name)
		c.bool(&m.ClientStream)
		c.bool(&m.ServerStream)
		c.u32(&m.Request)
		c.u32(&m.Reply)
	})
}

func (c *codec) message(m *Message) {
	c.str(&m.Name)
	list(c, &m.Fields, (*codec).field)
	list(c, &m.Required, func(c *codec, o *Oneof) { c.str(&o.Name); c.numbers(&o.Fields) })
}

func (c *codec) field(f *Field) {
	c.u32(&f.Number)
	c.str(&f.Name)
	small(c, &f.Type)
	small(c, &f.Card)
	c.u32(&f.Message)
	c.u32(&f.Oneof)
	c.bool(&f.Required)
	c.bool(&f.HasRange)
	c.u64(&f.Min)
	c.u64(&f.Max)
	list(c, &f.Values, (*codec).i64)
	c.u32(&f.MinLen)
	c.u32(&f.MaxLen)
	c.u32(&f.MinRunes)
	c.u32(&f.MaxRunes)
	c.u32(&f.MinItems)
	c.u32(&f.MaxItems)
	c.strings(&f.In)
	c.str(&f.Prefix)
	c.str(&f.Suffix)
	c.u64(&f.Class[0])
	c.u64(&f.Class[1])
	c.bool(&f.Default)
}

func (c *codec) policy(p *Policy) {
	c.str(&p.ID)
	c.str(&p.Source)
	c.bool(&p.Forbid)
}

func (c *codec) route(r *Route) {
	c.u32((*uint32)(&r.Client))
	c.u32((*uint32)(&r.Server))
	c.u32(&r.Interface)
	c.verdict(&r.Connect)
	c.verdict(&r.Lookup)
	c.decision(&r.ConnectUser)
	list(c, &r.Methods, func(c *codec, m *MethodPolicy) {
		c.decision(&m.Request)
		c.decision(&m.Reply)
	})
}

func (c *codec) decision(d *Decision) {
	list(c, &d.Forbid, (*codec).rule)
	list(c, &d.Permit, (*codec).rule)
	c.bool(&d.Silent)
}

func (c *codec) rule(r *Rule) {
	c.u32(&r.Policy)
	c.bool(&r.Audit)
	c.expr(&r.When)
	list(c, &r.Enter, func(c *codec, e *Enter) { c.u32(&e.Cell); c.u32(&e.Value) })
	c.u64(&r.Rate.Every)
	c.u32(&r.Rate.Burst)
}

func (c *codec) expr(e *Expr) {
	if c.depth++; c.reading && c.depth > MaxDepth {
		c.fail(errDeep)
		return
	}
	small(c, &e.Op)
	list(c, &e.Args, (*codec).expr)
	c.operand(&e.Left)
	c.operand(&e.Right)
	list(c, &e.Set, (*codec).value)
	c.numbers(&e.Path)
	c.u32(&e.Atom)
	c.depth--
}

func (c *codec) operand(o *Operand) {
	small(c, &o.What)
	c.value(&o.Value)
	c.numbers(&o.Path)
	c.u32(&o.Cell)
}

func (c *codec) value(v *Value) {
	c.bool(&v.IsString)
	c.i64(&v.Long)
	c.str(&v.String)
}

func (c *codec) metadata(m *Metadata) {
	c.str(&m.Key)
	c.u32(&m.Max)
}

func (c *codec) state(s *State) {
	c.str(&s.Name)
	small(c, &s.Per)
	c.strings(&s.Values)
	c.u32(&s.Initial)
	list(c, &s.Moves, func(c *codec, m *Move) { c.u32(&m.From); c.u32(&m.To) })
	list(c, &s.Set, (*codec).decision)
}

func (c *codec) cell(l *Cell) {
	c.u32(&l.State)
	c.u32((*uint32)(&l.Domain))
	c.u32(&l.Word)
	small(c, &l.Shift)
	small(c, &l.Bits)
}
