package oona

// WaitingToPublish is the number of calls that wait for a round trip.
func (c *Client) WaitingToPublish() int {
	c.additions.mu.Lock()
	defer c.additions.mu.Unlock()
	return len(c.additions.waiting)
}
