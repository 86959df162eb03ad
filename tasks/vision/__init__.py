"""Tasks on images and point clouds."""
