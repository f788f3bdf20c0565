; In how many ways can n queens stand on a board of n by n, none in another's way?
;=> small 2
;=> full 92

(define n (if (eq? size 'full) 8 4))

; Columns of the queens in the rows above, the nearest first.
(define (free? column queens)
  (let loop ((queens queens) (distance 1))
    (cond ((null? queens) #t)
          ((= (car queens) column) #f)
          ((= (car queens) (- column distance)) #f)
          ((= (car queens) (+ column distance)) #f)
          (else (loop (cdr queens) (+ distance 1))))))

(define (place row queens)
  (if (= row n)
      1
      (let loop ((column 0) (count 0))
        (cond ((= column n) count)
              ((free? column queens)
               (loop (+ column 1) (+ count (place (+ row 1) (cons column queens)))))
              (else (loop (+ column 1) count))))))

(place 0 '())
