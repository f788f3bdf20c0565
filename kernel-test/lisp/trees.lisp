; Binary trees, most of them short-lived, one that stays: the load that collectors are measured with.
;=> small (15 41 15)
;=> full (4095 43009 4095)

(define depth (if (eq? size 'full) 11 3))

(define (make depth)
  (if (= depth 0) '() (cons (make (- depth 1)) (make (- depth 1)))))

(define (count tree)
  (if (null? tree) 1 (+ 1 (count (car tree)) (count (cdr tree)))))

(define long-lived (make depth))

; 2^(depth - d) trees of each depth d
(define (churn d trees sum)
  (if (= d 0)
      sum
      (let loop ((i 0) (sum sum))
        (if (= i trees)
            (churn (- d 1) (* trees 2) sum)
            (loop (+ i 1) (+ sum (count (make d))))))))

(list (count long-lived) (churn depth 1 0) (count long-lived))
